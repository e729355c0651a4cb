"""Who may hear, as discovered -> the ``[access]`` section of a first ``invalidation.toml``."""

import re
from collections.abc import Iterable
from typing import Final

from listener.bootstrap.access_grants import Grant
from listener.bootstrap.catalog import Column
from listener.bootstrap.discovery import Discovery
from listener.bootstrap.naming import (
    identifier,
    singular,
    snake_case,
    toml_comment,
    toml_lines,
    toml_string,
)
from listener.capture.id_columns import canonical_expression
from shared.protocol.channels import IdType

_STATE: Final = re.compile(
    r"status|state|(is_)?(active|deleted|disabled|pending|archived|banned)"
    r"|(deleted|removed|revoked|left|archived|accepted|disabled|expires|expired)_at"
)
_NOBODY: Final = (
    "NOBODY may hear of any project: no owner column and no table of members was found."
)


def render_access(found: Discovery) -> str:
    """Who may hear: those whose rows say so; nobody, where none do."""
    lines = [
        "[access]",
        f"project_type = {toml_string(found.project_id.id_type)}",
        f"user_type = {toml_string(_user_type(found))}",
        *(toml_comment(text) for text in _remarks(found)),
    ]
    if _is_default(found):
        lines.append(
            "# Left out, the queries ask for the owner and the members, as these are named."
        )
    else:
        lines += _queries(found, found.grants)
    if found.proposed:
        lines += ["", toml_comment(_proposal(found))]
        proposed = "\n".join(_queries(found, (*found.grants, *found.proposed)))
        lines += [f"# {line}".rstrip() for line in proposed.splitlines()]
    return "\n".join(lines)


def describe_access(found: Discovery) -> str:
    """Who may hear, in a line."""
    if not found.is_heard:
        if found.proposed:
            likely = _listed(found, found.proposed)
            return f"{_NOBODY} Most likely may: {likely}. A query for that is in a comment."
        return f"{_NOBODY} Write the [access] query that asks your own rules."
    return f"May hear of a project: {_listed(found, found.grants)}."


def _listed(found: Discovery, grants: Iterable[Grant]) -> str:
    return ", or ".join(_describe(found, grant) for grant in grants)


def _describe(found: Discovery, grant: Grant) -> str:
    table = found.granting(grant)
    column = f"{table.name}.{grant.user}"
    if not grant.links and found.owner is not None and found.owner.is_guess:
        return f"who is in {column}, which is only taken for its owner"
    of = found.tables[grant.links[-2].target] if len(grant.links) > 1 else found.projects
    if grant.is_owner:
        return (
            f"the owner of its {singular(table.name)} ({column})"
            if grant.links
            else f"its owner ({column})"
        )
    whose = f" of its {singular(of.name)}" if of is not found.projects else ""
    if table is found.users:
        columns = " and ".join(name for name, _ in grant.links[-1].pairs)
        return f"the users{whose or ' of the project'} (by {table.name}.{columns})"
    return f"who has a row in {table.short}{whose}"


def _proposal(found: Discovery) -> str:
    also = "also " if found.is_heard else ""
    watched = {table.key for table, _ in found.placed}
    done = []
    for grant in found.proposed:
        table = found.granting(grant)
        column = table.column(grant.user)
        user = (
            f"user = {toml_string(canonical_expression(identifier(column.name), column.type))}"
        )
        if table.key in watched:
            done.append(f"add {user} to the watch of {table.short}")
        else:
            done.append(f"watch {table.short} with {user}")
    return (
        f"Most likely these may {also}hear: {_listed(found, found.proposed)}. If that is so, "
        "write what follows in place of the queries above, and so that who comes or goes is "
        f"told: {', '.join(done)}."
    )


def _remarks(found: Discovery) -> list[str]:
    remarks = [describe_access(found) + (" Check that." if found.is_heard else "")]
    if found.owner is not None and found.owner.is_guess:
        column = f"{found.projects.name}.{found.owner.column.name}"
        remarks.append(
            f"{column} is a guess: if it does not say who owns a project now, take it out of "
            "the queries, and user out of the watch of the projects."
        )
    if found.user_id is None:
        remarks.append("Nothing tells what users' ids look like: they are taken for text.")
    if found.lookalikes:
        names = ", ".join(table.short for table in found.lookalikes)
        remarks.append(f"It is not clear whether a row of these makes a member: {names}")
    asked = {table.key: table for table in map(found.granting, found.grants)}
    if asked:
        asked = {found.projects.key: found.projects, **asked}
    states = [
        f"{table.name}.{column.name}"
        for table in asked.values()
        for column in table.columns
        if _STATE.fullmatch(snake_case(column.name))
    ]
    if states:
        remarks.append(
            "These are not asked, though they may say that somebody may not hear: "
            + ", ".join(states)
        )
    return remarks


def _user_type(found: Discovery) -> IdType:
    return found.user_id.id_type if found.user_id is not None else "text"


def _is_default(found: Discovery) -> bool:
    """Whether the query that is used where none is given asks just that."""
    if found.owner is None or found.membership is None:
        return False
    members = found.membership.table
    names = (
        found.projects.short,
        found.project_id.name,
        found.owner.column.name,
        members.short,
    )
    columns = (found.membership.project, found.membership.user)
    user_type = _user_type(found)
    return (
        names == ("projects", "id", "owner_id", "project_members")
        and columns == ("project_id", "user_id")
        and _is_of(found.project_id, found.project_id.id_type)
        and _is_of(found.owner.column, user_type)
        and _is_of(members.column(found.membership.user), user_type)
    )


def _queries(found: Discovery, grants: tuple[Grant, ...]) -> list[str]:
    """Both queries as lines of the file; the second only if any user has access."""
    lines = [
        "# $1, $2: text arrays, pairwise projects and users -> the pairs that may hear.",
        f"query = {toml_lines(_query(found, grants))}",
    ]
    if grants:
        lines.append(
            "# $1: text array of projects -> all their pairs: whom their changes are told."
        )
        lines.append(f"members = {toml_lines(_members(found, grants))}")
    return lines


def _query(found: Discovery, grants: tuple[Grant, ...]) -> str:
    project = _equals("p", found.project_id, "project_id", found.project_id.id_type)
    conditions = [_condition(found, grant) for grant in grants]
    allowed = "\n    or ".join(conditions) if conditions else "false -- nobody"
    return f"""\
select asked.project_id, asked.user_id
  from unnest($1::text[], $2::text[]) as asked (project_id, user_id)
  join {found.projects.sql} p on {project}
 where {allowed}
"""


def _condition(found: Discovery, grant: Grant) -> str:
    """That the user asked for is in one of the rows of the grant."""
    rows, joins = _rows(found, grant)
    user = _equals(rows[-1], found.user_column(grant), "user_id", _user_type(found))
    if not joins:
        return user
    (first, where), *more = joins
    indented = "".join(f"\n                 join {table} on {on}" for table, on in more)
    return f"exists (select from {first}{indented}\n                where {where} and {user})"


def _members(found: Discovery, grants: tuple[Grant, ...]) -> str:
    """A query of all pairs of the projects asked for."""
    asked = _is_any("p", found.project_id, found.project_id.id_type)
    parts = []
    for grant in grants:
        rows, joins = _rows(found, grant)
        user = found.user_column(grant)
        pair = f"{_spelled('p', found.project_id)}, {_spelled(rows[-1], user)}"
        joined = "".join(f"\n  join {table} on {on}" for table, on in joins)
        parts.append(f"select {pair}\n  from {found.projects.sql} p{joined}\n where {asked}\n")
    return "union all\n".join(parts)


def _rows(found: Discovery, grant: Grant) -> tuple[list[str], list[tuple[str, str]]]:
    """What the rows of a grant are called, and each table after the projects with its join."""
    rows, joins = ["p"], []
    for number, link in enumerate(grant.links, 1):
        row = "m" if number == len(grant.links) else f"p{number}"
        on = " and ".join(
            f"{row}.{identifier(own)} = {rows[-1]}.{identifier(before)}"
            for own, before in link.pairs
        )
        joins.append((f"{found.tables[link.target].sql} {row}", on))
        rows.append(row)
    return rows, joins


def _is_any(row: str, column: Column, id_type: IdType) -> str:
    """A condition that an index on the column can serve, if its type is that of the ids."""
    name = f"{row}.{identifier(column.name)}"
    if _is_of(column, id_type):
        return f"{name} = any ($1::text[]::{id_type}[])"
    return f"{_as_text(row, column)} = any ($1::text[])"


def _equals(row: str, column: Column, asked: str, id_type: IdType) -> str:
    """A condition that an index on the column can serve, if its type is that of the ids."""
    name = f"{row}.{identifier(column.name)}"
    if _is_of(column, id_type):
        return f"{name} = asked.{asked}::{id_type}"
    return f"{_as_text(row, column)} = asked.{asked}"


def _spelled(row: str, column: Column) -> str:
    return canonical_expression(f"{row}.{identifier(column.name)}", column.type)


def _as_text(row: str, column: Column) -> str:
    name, spelled = f"{row}.{identifier(column.name)}", _spelled(row, column)
    return f"{name}::text" if spelled == name else spelled


def _is_of(column: Column, id_type: IdType) -> bool:
    """Whether the column compares with an id that is cast to the ids' type."""
    is_comparable = id_type != "text" or column.type in ("text", "character varying")
    return column.id_type == id_type and is_comparable

"""Renders the ``[access]`` section of a first ``invalidation.toml``."""

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
    "NOBODY may see any project: found neither an owner column nor a table of members."
)


def render_access(found: Discovery) -> str:
    """Render the section: access for the users in the rows that were found, or for nobody."""
    lines = [
        "[access]",
        f"project_type = {toml_string(found.project_id.id_type)}",
        f"user_type = {toml_string(_user_type(found))}",
        *(toml_comment(text) for text in _remarks(found)),
    ]
    if _is_default(found):
        lines.append(
            "# The default queries fit: they ask for the owner and the members, by these names."
        )
    else:
        lines += _queries(found, found.grants)
    if found.proposed:
        lines += ["", toml_comment(_proposal(found))]
        proposed = "\n".join(_queries(found, (*found.grants, *found.proposed)))
        lines += [f"# {line}".rstrip() for line in proposed.splitlines()]
    return "\n".join(lines)


def describe_access(found: Discovery) -> str:
    """Describe in a line who may see a project."""
    if not found.grants:
        if found.proposed:
            likely = _listed(found, found.proposed)
            return f"{_NOBODY} Most likely it should be: {likely}. A comment has that query."
        return f"{_NOBODY} Write the [access] query by the rules of your app."
    return f"These users may see a project: {_listed(found, found.grants)}."


def _listed(found: Discovery, grants: Iterable[Grant]) -> str:
    return ", or ".join(_describe(found, grant) for grant in grants)


def _describe(found: Discovery, grant: Grant) -> str:
    table = found.granting(grant)
    column = f"{table.name}.{grant.user}"
    if not grant.links and found.owner is not None and found.owner.is_guess:
        return f"its owner, guessed to be {column}"
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
    return f"those with a row in {table.short}{whose}"


def _proposal(found: Discovery) -> str:
    also = "also " if found.grants else ""
    watched = {table.key for table, _ in found.watched}
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
        f"Most likely these users may {also}see a project: {_listed(found, found.proposed)}. "
        "If so, replace the queries above by the following, and to send the events of gained "
        f"and lost access: {', '.join(done)}."
    )


def _remarks(found: Discovery) -> list[str]:
    remarks = [describe_access(found) + (" Check that." if found.grants else "")]
    if found.owner is not None and found.owner.is_guess:
        column = f"{found.projects.name}.{found.owner.column.name}"
        remarks.append(
            f"{column} is a guess: if it does not hold the present owner, remove it from the "
            "queries, and user from the watch of the projects."
        )
    if found.user_id is None:
        remarks.append("The type of users' ids is unknown: text is assumed.")
    if found.lookalikes:
        names = ", ".join(table.short for table in found.lookalikes)
        remarks.append(f"It is unclear whether a row in these tables makes a member: {names}")
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
            "The queries ignore these columns, which may restrict access: " + ", ".join(states)
        )
    return remarks


def _user_type(found: Discovery) -> IdType:
    return found.user_id.id_type if found.user_id is not None else "text"


def _is_default(found: Discovery) -> bool:
    """Whether the default queries ask for exactly this owner and these members."""
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
    """Return both queries as lines of the file; the second only if any user has access."""
    lines = [
        "# $1, $2: text arrays, pairs of project and user -> the pairs that have access.",
        f"query = {toml_lines(_query(found, grants))}",
    ]
    if grants:
        lines.append(
            "# $1: text array of projects -> the pairs of these projects and all their users."
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
    """Return the condition that the grant names the user asked for."""
    rows, joins = _rows(found, grant)
    user = _equals(rows[-1], found.user_column(grant), "user_id", _user_type(found))
    if not joins:
        return user
    (first, where), *more = joins
    indented = "".join(f"\n                 join {table} on {on}" for table, on in more)
    return f"exists (select from {first}{indented}\n                where {where} and {user})"


def _members(found: Discovery, grants: tuple[Grant, ...]) -> str:
    """Return a query of all pairs of the projects asked for."""
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
    """Return the aliases of a grant's rows, and each table after the projects with its join."""
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
    """Return a condition that can use an index on the column if its type is that of the ids."""
    name = f"{row}.{identifier(column.name)}"
    if _is_of(column, id_type):
        return f"{name} = any ($1::text[]::{id_type}[])"
    return f"{_as_text(row, column)} = any ($1::text[])"


def _equals(row: str, column: Column, asked: str, id_type: IdType) -> str:
    """Return a condition that can use an index on the column if its type is that of the ids."""
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
    """Whether the column can be compared with an id that is cast to the ids' type."""
    is_comparable = id_type != "text" or column.type in ("text", "character varying")
    return column.id_type == id_type and is_comparable

"""Who may hear, as discovered -> the ``[access]`` section of a first ``invalidation.toml``."""

import re
from typing import Final

from listener.core.catalog import Column
from listener.core.discovery import Discovery
from listener.core.naming import (
    identifier,
    snake_case,
    toml_comment,
    toml_lines,
    toml_string,
)
from shared.core.channels import IdType

_STATE: Final = re.compile(
    r"status|state|(is_)?(active|deleted|disabled|pending|archived|banned)"
    r"|(deleted|removed|revoked|left|archived|accepted|disabled|expires|expired)_at"
)
_NOBODY: Final = (
    "NOBODY may hear of any project: no owner column and no table of members was found. "
    "Write the [access] query that asks your own rules."
)


def render_access(found: Discovery) -> str:
    """Who may hear: those whose rows say so; nobody, where none do."""
    lines = [
        "[access]",
        f"project_type = {toml_string(found.project_id.id_type)}",
        f"user_type = {toml_string(_user_type(found))}",
        *(toml_comment(text) for text in _remarks(found)),
        "# $1, $2: text arrays, pairwise projects and users -> the pairs that may hear.",
    ]
    if _is_default(found):
        lines.append(
            "# Left out, the queries ask for the owner and the members, as these are named."
        )
        return "\n".join(lines)
    lines.append(f"query = {toml_lines(_query(found))}")
    if found.is_heard:
        lines.append(
            "# $1: text array of projects -> all their pairs: whom their changes are told."
        )
        lines.append(f"members = {toml_lines(_members(found))}")
    return "\n".join(lines)


def describe_access(found: Discovery) -> str:
    """Who may hear, in a line."""
    who = []
    if found.owner is not None:
        who.append(f"its owner ({found.projects.name}.{found.owner.name})")
    if found.membership is not None:
        who.append(f"who has a row in {found.membership.table.short}")
    return f"May hear of a project: {', or '.join(who)}." if who else _NOBODY


def _remarks(found: Discovery) -> list[str]:
    remarks = [describe_access(found) + (" Check that." if found.is_heard else "")]
    if found.user_id is None:
        remarks.append("Nothing tells what users' ids look like: they are taken for text.")
    if found.lookalikes:
        names = ", ".join(table.short for table in found.lookalikes)
        remarks.append(f"It is not clear whether a row of these makes a member: {names}")
    asked = [found.projects] if found.is_heard else []
    if found.membership is not None:
        asked.append(found.membership.table)
    states = [
        f"{table.name}.{column.name}"
        for table in asked
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
    names = (found.projects.short, found.project_id.name, found.owner.name, members.short)
    columns = (found.membership.project, found.membership.user)
    user_type = _user_type(found)
    return (
        names == ("projects", "id", "owner_id", "project_members")
        and columns == ("project_id", "user_id")
        and _is_of(found.project_id, found.project_id.id_type)
        and _is_of(found.owner, user_type)
        and _is_of(members.column(found.membership.user), user_type)
    )


def _query(found: Discovery) -> str:
    user_type = _user_type(found)
    project = _equals("p", found.project_id, "project_id", found.project_id.id_type)
    conditions = []
    if found.owner is not None:
        conditions.append(_equals("p", found.owner, "user_id", user_type))
    if found.membership is not None:
        members = found.membership.table
        user = _equals("m", members.column(found.membership.user), "user_id", user_type)
        conditions.append(
            f"exists (select from {members.sql} m\n"
            f"                where m.{identifier(found.membership.project)}"
            f" = p.{identifier(found.project_id.name)} and {user})"
        )
    allowed = "\n    or ".join(conditions) if conditions else "false -- nobody"
    return f"""\
select asked.project_id, asked.user_id
  from unnest($1::text[], $2::text[]) as asked (project_id, user_id)
  join {found.projects.sql} p on {project}
 where {allowed}
"""


def _members(found: Discovery) -> str:
    """A query of all pairs of the projects asked for."""
    parts = []
    project_type = found.project_id.id_type
    if found.owner is not None:
        asked = _is_any("p", found.project_id, project_type)
        pair = f"p.{identifier(found.project_id.name)}, p.{identifier(found.owner.name)}"
        parts.append(f"select {pair}\n  from {found.projects.sql} p\n where {asked}\n")
    if found.membership is not None:
        table = found.membership.table
        asked = _is_any("m", table.column(found.membership.project), project_type)
        columns = (found.membership.project, found.membership.user)
        pair = ", ".join(f"m.{identifier(name)}" for name in columns)
        parts.append(f"select {pair}\n  from {table.sql} m\n where {asked}\n")
    return "union all\n".join(parts)


def _is_any(row: str, column: Column, id_type: IdType) -> str:
    """A condition that an index on the column can serve, if its type is that of the ids."""
    name = f"{row}.{identifier(column.name)}"
    if _is_of(column, id_type):
        return f"{name} = any ($1::text[]::{id_type}[])"
    return f"{name}::text = any ($1::text[])"


def _equals(row: str, column: Column, asked: str, id_type: IdType) -> str:
    """A condition that an index on the column can serve, if its type is that of the ids."""
    name = f"{row}.{identifier(column.name)}"
    if _is_of(column, id_type):
        return f"{name} = asked.{asked}::{id_type}"
    return f"{name}::text = asked.{asked}"


def _is_of(column: Column, id_type: IdType) -> bool:
    """Whether the column compares with an id that is cast to the ids' type."""
    is_comparable = id_type != "text" or column.type in ("text", "character varying")
    return column.id_type == id_type and is_comparable

"""What was discovered -> a first ``invalidation.toml``."""

import re
from collections.abc import Iterable
from itertools import chain, count
from typing import Final

from listener.bootstrap.catalog import DescribedTable, TableKey
from listener.bootstrap.discovery import Discovery
from listener.bootstrap.first_access import describe_access, render_access
from listener.bootstrap.first_watches import render_suggestion, watch_lines
from listener.bootstrap.naming import singular, snake_case, toml_comment, toml_string
from listener.bootstrap.paths import TablePath

_BOOKKEEPING: Final = re.compile(r"(updated|modified|touched|synced|changed)_(at|on)|last_\w+")
_HEADER: Final = """\
# What Neverstale watches: a first version, made from the tables of the database.
# Review it, then apply it with: python -m listener install
# Every key is explained in docs/reference/invalidation-toml.md."""
_LOOKED_UP: Final = (
    "A project that is looked up through a parent is not found once the parent is gone (a "
    "cascade deletes both): everybody is told to refetch everything then."
)
_PARENTS: Final = (
    "Not watched: projects refer to these, so a row may be of many projects, which would all "
    "have to be told. Where clients show such rows, call neverstale.notify() for each project: "
)
_WITHOUT_ID: Final = (
    "It has no key without NULLs: every change of it becomes a reconnect of its project. If "
    "something else tells its rows apart, write it as id."
)


def render_config(found: Discovery) -> str:
    """The text of the file: it can be installed as it is, and says what it could not tell."""
    resources = _name_resources(found)
    sections = [_HEADER]
    if any(place.steps for _, place in found.placed):
        sections.append(toml_comment(_LOOKED_UP))
    sections += [
        _watch(found, table, place, resources[table.key]) for table, place in found.placed
    ]
    sections += [
        render_suggestion(found, some, resources[some.table.key]) for some in found.suggested
    ]
    if found.parents:
        sections.append(
            toml_comment(_PARENTS + ", ".join(table.short for table in found.parents))
        )
    if found.unplaced:
        names = ", ".join(table.short for table in found.unplaced)
        sections.append(toml_comment(f"Not watched: no foreign-key path to projects: {names}"))
    sections.append(render_access(found))
    return "\n\n".join(sections) + "\n"


def describe_discovery(found: Discovery) -> list[str]:
    """What was found, a line each."""
    resetting = [table for table, place in found.placed if place.steps and place.nullable]
    lines = {
        "projects": f"{found.projects.short} (another: --projects TABLE)",
        "users": found.users.short if found.users is not None else "no table was found",
        "watched": _listed(table for table, _ in found.placed),
        "resetting": _listed(resetting, " (by a NULL on the way to the project: see the file)"),
        "suggested": _listed(some.table for some in found.suggested),
        "not watched": _listed((*found.parents, *found.unplaced)),
        "access": describe_access(found),
    }
    return [f"{what:12} {text}" for what, text in lines.items() if text]


def _listed(tables: Iterable[DescribedTable], remark: str = "") -> str:
    names = ", ".join(table.short for table in tables)
    return names + remark if names else ""


def _name_resources(found: Discovery) -> dict[TableKey, str]:
    """A name of its own for the rows of each table."""
    named = {found.projects.key: "project"}
    if found.membership is not None:
        named[found.membership.table.key] = "project_members"
    for schema, name in found.tables:
        wished = (singular(name), snake_case(name), snake_case(f"{schema}_{name}"))
        numbered = (f"{wished[0]}_{number}" for number in count(2))
        taken = set(named.values())
        free = next(text for text in chain(wished, numbered) if text and text not in taken)
        named.setdefault((schema, name), free)
    return named


def _watch(found: Discovery, table: DescribedTable, place: TablePath, resource: str) -> str:
    user = key = None
    if table is found.projects and found.owner is not None:
        user = found.owner.column.name
    if found.membership is not None and table is found.membership.table:
        user = found.membership.user
        key = (place.column, user)
    lines = [toml_comment(text) for text in _remarks(table, place)]
    lines += watch_lines(found, table, resource, place=place, user=user, key=key)
    ignored = [
        column.name
        for column in table.columns
        if column.type.startswith(("timestamp", "date"))
        and _BOOKKEEPING.fullmatch(snake_case(column.name))
        and column.name not in table.primary_key
    ]
    if ignored:
        names = ", ".join(map(toml_string, ignored))
        lines.append(f"# ignore = [{names}]  # if nobody need hear of an UPDATE of these alone")
    return "\n".join(lines)


def _remarks(table: DescribedTable, place: TablePath) -> Iterable[str]:
    """What the file could not tell of the table."""
    if place.others:
        others = " or ".join(" and ".join(key.columns) for key in place.others)
        yield f"By {others} it leads to a project on an equally short path: is this one meant?"
    if place.nullable and place.steps:
        yield (
            f"{' and '.join(place.nullable)} may be NULL: no project is found then, and a "
            "change of such a row tells everybody to refetch everything."
        )
    elif place.nullable:
        yield f"{place.column} may be NULL: such a row belongs to no project, nobody is told."
    if not table.row_key:
        yield _WITHOUT_ID

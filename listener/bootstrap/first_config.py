"""Renders a first ``invalidation.toml``."""

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
# What Neverstale watches: a first version, written from the tables of the database.
# Review it, then apply it with: neverstale install
# Every key is explained in docs/reference/invalidation-toml.md."""
_LOOKED_UP: Final = (
    "A project that is looked up through a parent cannot be found once the parent is deleted "
    "(a cascade deletes both): then every client refetches everything."
)
_PARENTS: Final = (
    "Not watched: projects refer to these, so a row may belong to many projects, and a change "
    "would concern all. If clients show such rows, call neverstale.notify() for each project: "
)
_WITHOUT_ID: Final = (
    "It has no key without NULLs: every change becomes a reconnect of its project. If another "
    "expression identifies its rows, write it as id."
)


def render_config(found: Discovery) -> str:
    """Return the file's text. It can be installed as it is; comments say what is unclear."""
    resources = _name_resources(found)
    sections = [_HEADER]
    if any(path.steps for _, path in found.watched):
        sections.append(toml_comment(_LOOKED_UP))
    sections += [
        _watch(found, table, path, resources[table.key]) for table, path in found.watched
    ]
    sections += [
        render_suggestion(found, suggestion, resources[suggestion.table.key])
        for suggestion in found.suggested
    ]
    if found.parents:
        sections.append(
            toml_comment(_PARENTS + ", ".join(table.short for table in found.parents))
        )
    if found.unrelated:
        names = ", ".join(table.short for table in found.unrelated)
        sections.append(toml_comment(f"Not watched: no foreign-key path to projects: {names}"))
    sections.append(render_access(found))
    return "\n\n".join(sections) + "\n"


def describe_discovery(found: Discovery) -> list[str]:
    """Return what was found, a line for each subject."""
    resetting = [table for table, path in found.watched if path.steps and path.nullable]
    lines = {
        "projects": f"{found.projects.short} (another: --projects TABLE)",
        "users": found.users.short if found.users is not None else "no table was found",
        "watched": _listed(table for table, _ in found.watched),
        "resetting": _listed(resetting, " (if a column on its path to the project is NULL)"),
        "suggested": _listed(suggestion.table for suggestion in found.suggested),
        "not watched": _listed((*found.parents, *found.unrelated)),
        "access": describe_access(found),
    }
    return [f"{what:12} {text}" for what, text in lines.items() if text]


def _listed(tables: Iterable[DescribedTable], remark: str = "") -> str:
    names = ", ".join(table.short for table in tables)
    return names + remark if names else ""


def _name_resources(found: Discovery) -> dict[TableKey, str]:
    """Return a unique resource name for each table."""
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


def _watch(found: Discovery, table: DescribedTable, path: TablePath, resource: str) -> str:
    user = key = None
    if table is found.projects and found.owner is not None:
        user = found.owner.column.name
    if found.membership is not None and table is found.membership.table:
        user = found.membership.user
        key = (path.column, user)
    lines = [toml_comment(text) for text in _remarks(table, path)]
    lines += watch_lines(found, table, resource, path=path, user=user, key=key)
    ignored = [
        column.name
        for column in table.columns
        if column.type.startswith(("timestamp", "date"))
        and _BOOKKEEPING.fullmatch(snake_case(column.name))
        and column.name not in table.primary_key
    ]
    if ignored:
        names = ", ".join(map(toml_string, ignored))
        lines.append(f"# ignore = [{names}]  # to ignore an UPDATE of these columns alone")
    return "\n".join(lines)


def _remarks(table: DescribedTable, path: TablePath) -> Iterable[str]:
    """Yield what is unclear about the table."""
    if path.others:
        others = " or ".join(" and ".join(key.columns) for key in path.others)
        yield f"Check this path: {others} leads to a project on an equally short one."
    if path.nullable and path.steps:
        yield (
            f"{' and '.join(path.nullable)} may be NULL: then no project is found, and a "
            "change of such a row makes every client refetch everything."
        )
    elif path.nullable:
        yield f"{path.column} may be NULL: a change of such a row is sent to nobody."
    if not table.row_key:
        yield _WITHOUT_ID

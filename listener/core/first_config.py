"""What was discovered -> a first ``invalidation.toml``."""

import re
from collections.abc import Iterable
from itertools import chain, count
from typing import Final

from listener.core.catalog import DescribedTable, TableKey
from listener.core.discovery import Discovery, Place, Suggestion
from listener.core.first_access import describe_access, render_access
from listener.core.naming import identifier, singular, snake_case, toml_comment, toml_string

# Types whose values `||` joins with text as they are.
_JOINABLE: Final = frozenset(
    ("uuid", "smallint", "integer", "bigint", "text", "character varying", "date", "boolean")
)
_BOOKKEEPING: Final = re.compile(r"(updated|modified|touched|synced|changed)_(at|on)|last_\w+")
_HEADER: Final = """\
# What Neverstale watches: a first version, made from the tables of the database.
# Review it, then apply it with: python -m listener install
# Every key is explained in docs/operations.md."""
_LOOKED_UP: Final = (
    "A project that is looked up through a parent is not found once the parent is gone (a "
    "cascade deletes both): everybody is told to refetch everything then."
)
_WITHOUT_ID: Final = (
    "It has no primary key: every change of it becomes a reconnect of its project. If "
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
    sections += [_suggested(found, some, resources[some.table.key]) for some in found.suggested]
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
        "not watched": _listed(found.unplaced),
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


def _watch(found: Discovery, table: DescribedTable, place: Place, resource: str) -> str:
    is_membership = found.membership is not None and table is found.membership.table
    lines = [toml_comment(text) for text in _remarks(table, place)]
    lines += ["[[watch]]", f"table = {toml_string(table.short)}"]
    lines.append(f"resource = {toml_string(resource)}")
    user = None
    if table is found.projects and found.owner is not None:
        user = found.owner.name
    if is_membership and found.membership is not None:
        user = found.membership.user
        lines.append(f"id = {toml_string(_joined(table, (place.column, user)))}")
    elif table.primary_key:
        lines.append(f"id = {toml_string(_joined(table, table.primary_key))}")
    lines.append(f"project = {toml_string(_project(found, place))}")
    if user is not None:
        lines.append(f"user = {toml_string(identifier(user))}")
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


def _remarks(table: DescribedTable, place: Place) -> Iterable[str]:
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
    if not table.primary_key:
        yield _WITHOUT_ID


def _suggested(found: Discovery, some: Suggestion, resource: str) -> str:
    """A watch that is commented out."""
    if some.project is not None:
        why = (
            "It has no foreign key to projects. If this column holds a project's id, watch it:"
        )
    else:
        why = "A user's own rows, of no project. To tell that user alone of them:"
    lines = ["[[watch]]", f"table = {toml_string(some.table.short)}"]
    lines.append(f"resource = {toml_string(resource)}")
    if some.table.primary_key:
        joined = _joined(some.table, some.table.primary_key)
        lines.append(f"id = {toml_string(joined)}")
    for key, column in (("project", some.project), ("user", some.user)):
        if column is not None:
            lines.append(f"{key} = {toml_string(identifier(column))}")
    return "\n".join([toml_comment(why), *(f"# {line}" for line in lines)])


def _joined(table: DescribedTable, names: tuple[str, ...]) -> str:
    """The column, or an expression that joins the columns."""
    if len(names) == 1:
        return identifier(names[0])
    parts = [
        identifier(name) + ("" if table.column(name).type in _JOINABLE else "::text")
        for name in names
    ]
    return " || ':' || ".join(parts)


def _project(found: Discovery, place: Place) -> str:
    """The column, or an expression that looks the project up through its parents."""
    column = identifier(place.column)
    if not place.steps:
        return column
    row = "changed"
    parents, conditions = [], []
    for number, step in enumerate(place.steps, 1):
        child, row = row, f"p{number}"
        parents.append(f"{found.tables[step.target].sql} {row}")
        pairs = zip(step.target_columns, step.columns, strict=True)
        conditions.append(
            " and ".join(f"{row}.{identifier(a)} = {child}.{identifier(b)}" for a, b in pairs)
        )
    joins = "".join(
        f" join {parent} on {condition}"
        for parent, condition in zip(parents[1:], conditions[1:], strict=True)
    )
    return f"(select {row}.{column} from {parents[0]}{joins} where {conditions[0]})"

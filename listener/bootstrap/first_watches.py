"""Tables -> each ``[[watch]]`` of a first ``invalidation.toml``, or a comment with one."""

from typing import Final

from listener.bootstrap.catalog import DescribedTable
from listener.bootstrap.discovery import Discovery, Suggestion
from listener.bootstrap.naming import identifier, toml_comment, toml_string
from listener.bootstrap.paths import TablePath
from listener.capture.id_columns import canonical_expression

# Types whose values `||` joins with text as they are.
_JOINABLE: Final = frozenset(
    ("uuid", "smallint", "integer", "bigint", "text", "character varying", "date", "boolean")
)


def watch_lines(
    found: Discovery,
    table: DescribedTable,
    resource: str,
    *,
    place: TablePath | None = None,
    user: str | None = None,
    key: tuple[str, ...] | None = None,
) -> list[str]:
    """The lines of a watch; its id is *key*, or else what tells the table's rows apart."""
    lines = ["[[watch]]", f"table = {toml_string(table.short)}"]
    lines.append(f"resource = {toml_string(resource)}")
    if table is found.projects and not key:
        lines.append(f"id = {toml_string(_spelled(table, found.project_id.name))}")
    elif key or table.row_key:
        lines.append(f"id = {toml_string(_joined(table, key or table.row_key))}")
    if place is not None:
        lines.append(f"project = {toml_string(_project(found, table, place))}")
    if user is not None:
        lines.append(f"user = {toml_string(_spelled(table, user))}")
    return lines


def render_suggestion(found: Discovery, some: Suggestion, resource: str) -> str:
    """A watch that is commented out, or what to do instead, and why."""
    lines = []
    if some.pair is None:
        user = some.user if some.place is None else None
        lines = watch_lines(found, some.table, resource, place=some.place, user=user)
    return "\n".join([toml_comment(_reason(some)), *(f"# {line}" for line in lines)])


def _reason(some: Suggestion) -> str:
    name = some.table.short
    if some.pair is not None:
        kind, key = map(identifier, some.pair)
        return (
            f"Not watched: {name}: what a row belongs to stands in {kind} and {key}, which no "
            f"foreign key explains. Write a [[watch]] whose project is a case over {kind}, or "
            "give the table a column with its project."
        )
    if some.place is None:
        return "A user's own rows, of no project. To tell that user alone of them:"
    everybody = "everybody is told to refetch everything"
    if some.reason == "parent":
        lacking = f", and where it finds none, {everybody}" if some.place.steps else ""
        return (
            f"Not watched: projects refer to {name}, so a row may be of many projects. This "
            f"finds one at most{lacking}:"
        )
    if some.reason == "loose":
        return (
            "No foreign key leads to projects. If this column holds a project's id, watch it:"
        )
    own = toml_string(_spelled(some.table, some.user)) if some.user is not None else None
    alone = f" To tell a user alone, write user = {own} instead." if own is not None else ""
    nullable = " and ".join(some.place.nullable)
    if not some.place.steps:
        return (
            f"Not watched: {nullable} may be NULL and seems to point to one of many projects, "
            f"not to say what the row is part of. If it does say that, watch it:{alone}"
        )
    return (
        f"Not watched: {nullable} may be NULL: no project is found then, and at each change of "
        f"such a row {everybody}. If hardly any row is such, watch it:{alone}"
    )


def _joined(table: DescribedTable, names: tuple[str, ...]) -> str:
    """The column, or an expression that joins the columns."""
    if len(names) == 1:
        return identifier(names[0])
    parts = [
        identifier(name) + ("" if table.column(name).type in _JOINABLE else "::text")
        for name in names
    ]
    return " || ':' || ".join(parts)


def _spelled(table: DescribedTable, name: str, row: str = "") -> str:
    """The column, of the row of that name, as it names projects and users."""
    return canonical_expression(row + identifier(name), table.column(name).type)


def _project(found: Discovery, table: DescribedTable, place: TablePath) -> str:
    """The column, or an expression that looks the project up through its parents."""
    if not place.steps:
        return _spelled(table, place.column)
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
    column = _spelled(found.tables[place.steps[-1].target], place.column, f"{row}.")
    return f"(select {column} from {parents[0]}{joins} where {conditions[0]})"

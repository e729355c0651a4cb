"""Renders each ``[[watch]]`` of a first ``invalidation.toml``, or a comment with one."""

from typing import Final

from listener.bootstrap.catalog import DescribedTable
from listener.bootstrap.discovery import Discovery, Suggestion
from listener.bootstrap.naming import identifier, toml_comment, toml_string
from listener.bootstrap.paths import TablePath
from listener.capture.id_columns import canonical_expression

# Types that `||` concatenates with text without a cast.
_JOINABLE: Final = frozenset(
    ("uuid", "smallint", "integer", "bigint", "text", "character varying", "date", "boolean")
)


def watch_lines(
    found: Discovery,
    table: DescribedTable,
    resource: str,
    *,
    path: TablePath | None = None,
    user: str | None = None,
    key: tuple[str, ...] | None = None,
) -> list[str]:
    """Return the lines of a watch. Its id is *key*, or else the table's row key."""
    lines = ["[[watch]]", f"table = {toml_string(table.short)}"]
    lines.append(f"resource = {toml_string(resource)}")
    if table is found.projects and not key:
        lines.append(f"id = {toml_string(_spelled(table, found.project_id.name))}")
    elif key or table.row_key:
        lines.append(f"id = {toml_string(_joined(table, key or table.row_key))}")
    if path is not None:
        lines.append(f"project = {toml_string(_project(found, table, path))}")
    if user is not None:
        lines.append(f"user = {toml_string(_spelled(table, user))}")
    return lines


def render_suggestion(found: Discovery, suggestion: Suggestion, resource: str) -> str:
    """Return a watch as a comment, or what to do instead, and the reason."""
    lines = []
    if suggestion.pair is None:
        user = suggestion.user if suggestion.path is None else None
        lines = watch_lines(found, suggestion.table, resource, path=suggestion.path, user=user)
    return "\n".join([toml_comment(_reason(suggestion)), *(f"# {line}" for line in lines)])


def _reason(suggestion: Suggestion) -> str:
    name = suggestion.table.short
    if suggestion.pair is not None:
        kind, key = map(identifier, suggestion.pair)
        return (
            f"Not watched: {name}: {kind} and {key} name the row that a row belongs to, but "
            f"have no foreign key. Write a [[watch]] whose project is a case over {kind}, or "
            "add a column with the project to the table."
        )
    if suggestion.path is None:
        return "Its rows belong to a user, not to a project. To send changes to that user:"
    everybody = "every client refetches everything"
    if suggestion.reason == "parent":
        lacking = f", and if it finds none, {everybody}" if suggestion.path.steps else ""
        return (
            f"Not watched: projects refer to {name}, so a row may belong to many projects. "
            f"This watch finds one at most{lacking}:"
        )
    if suggestion.reason == "loose":
        return (
            "Not watched: no foreign key to projects. If this column holds a project's id, use:"
        )
    own = (
        toml_string(_spelled(suggestion.table, suggestion.user))
        if suggestion.user is not None
        else None
    )
    alone = f" To send changes to one user alone, write user = {own} instead." if own else ""
    nullable = " and ".join(suggestion.path.nullable)
    if not suggestion.path.steps:
        return (
            f"Not watched: {nullable} may be NULL, and seems to select a project rather than "
            f"to say which one the row belongs to. If it does say that, use this watch.{alone}"
        )
    return (
        f"Not watched: {nullable} may be NULL: then no project is found, and at each change of "
        f"such a row {everybody}. If such rows are rare, use this watch.{alone}"
    )


def _joined(table: DescribedTable, names: tuple[str, ...]) -> str:
    """Return the column, or an expression that concatenates the columns."""
    if len(names) == 1:
        return identifier(names[0])
    parts = [
        identifier(name) + ("" if table.column(name).type in _JOINABLE else "::text")
        for name in names
    ]
    return " || ':' || ".join(parts)


def _spelled(table: DescribedTable, name: str, row: str = "") -> str:
    """Return the column, of the row with that alias, in the spelling of ids."""
    return canonical_expression(row + identifier(name), table.column(name).type)


def _project(found: Discovery, table: DescribedTable, path: TablePath) -> str:
    """Return the column, or an expression that looks up the project through parents."""
    if not path.steps:
        return _spelled(table, path.column)
    row = "changed"
    parents, conditions = [], []
    for number, step in enumerate(path.steps, 1):
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
    column = _spelled(found.tables[path.steps[-1].target], path.column, f"{row}.")
    return f"(select {column} from {parents[0]}{joins} where {conditions[0]})"

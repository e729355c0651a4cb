"""The query that turns rows of a watched table into rows of the change log, as SQL."""

from dataclasses import dataclass
from typing import Final

from listener.capture.expressions import (
    Table,
    columns_in,
    expression_sql,
    plain_column,
    quote_literal,
    reads_row_only,
)
from listener.capture.log_actions import RECONNECT
from listener.capture.watches import Watch

INSERT_ROWS: Final = (
    "  insert into neverstale.change_log (project_id, user_id, resource, id, action)\n"
)
RESET: Final = f"'bulk_change', '{RECONNECT}'"


@dataclass(frozen=True, slots=True)
class CaptureLimits:
    """Limits that apply to all triggers.

    ``bulk_threshold`` is set in ``invalidation.toml``, ``log_max_bytes`` by ``LOG_MAX_BYTES``.
    """

    bulk_threshold: int
    log_max_bytes: int


@dataclass(frozen=True, slots=True)
class Parent:
    """How rows of watched tables look up a row of this table, whose project is theirs.

    ``columns``: those of this table that the look-ups read. ``is_bound``: foreign keys
    guarantee that the looked-up row exists, except while a transaction that replaces it runs.
    """

    columns: frozenset[str]
    is_bound: bool

    def merged(self, other: "Parent") -> "Parent":
        """Return the parent of the rows of both."""
        return Parent(self.columns | other.columns, self.is_bound and other.is_bound)


class LoggedRow:
    """How a row of a watched table is logged: SQL over a source that has the row's columns.

    A project that is NULL in its column, or in an expression over the row alone, means that the
    row belongs to no project: only its user gets the event. A NULL that a look-up returns means
    that the parent is gone: the project is unknown, so everything is reset. A user whom a
    look-up does not find is logged as an empty text, which is no user's id: then the access of
    all users of the project is checked again.

    ``routing_columns`` decide a row's id, project and user, or those of rows that look it up
    (``looked_up_columns``). ``is_loose``: some of these are expressions, which may fail, or
    columns whose type calls values equal that are written differently.
    """

    def __init__(self, watch: Watch, table: Table, parent: Parent | None) -> None:
        self._watch = watch
        self.project = expression_sql(watch.project, table) if watch.project else "null"
        self.user = expression_sql(watch.user, table) if watch.user else "null"
        if watch.user and not reads_row_only(watch.user, table):
            self.user = f"coalesce({self.user}, '')"
        self._id = expression_sql(watch.id, table) if watch.id else "null"
        self._has_own_project = watch.project is not None and reads_row_only(
            watch.project, table
        )
        routing = {
            name for text in watch.expressions.values() for name in columns_in(text, table)
        }
        looked_up: set[str] = set()
        if parent is not None:
            looked_up |= columns_in(watch.id or "", table)
            looked_up |= columns_in(watch.project or "", table)
            looked_up |= parent.columns & set(table.columns)
        self.looked_up_columns = sorted(looked_up)
        self.routing_columns = sorted(routing | looked_up)
        named = (plain_column(text, table) for text in watch.expressions.values())
        self.is_loose = any(column is None or column in table.loose for column in named)
        if table.in_tree:  # looked-up columns are compared as jsonb, and that cast may fail
            self.is_loose |= not looked_up.isdisjoint(table.loose)

    def select(
        self, action: str, source: str, *conditions: str, is_distinct: bool = False
    ) -> str:
        """Return a query of the log rows for the source's rows; *action* is SQL."""
        resource = quote_literal(self._watch.resource)
        wanted = list(conditions)
        if self._has_own_project:
            or_user = f" or {self.user} is not null" if self._watch.user else ""
            wanted.append(f"({self.project} is not null{or_user})")
        elif self._watch.project is not None:
            is_lost = f"{self.project} is null"
            resource = f"case when {is_lost} then 'bulk_change' else {resource} end"
            action = f"case when {is_lost} then '{RECONNECT}' else {action} end"
        where = f"\n   where {' and '.join(wanted)}" if wanted else ""
        select = "select distinct" if is_distinct else "select"
        return (
            f"  {select} {self.project}, {self.user}, {resource}, {self._id}, {action}\n"
            f"    from {source}{where}"
        )

    def select_projects(self, source: str) -> str:
        """Return a query of the projects of the source's rows."""
        known = f" where {self.project} is not null" if self._has_own_project else ""
        return f"select {self.project} from {source}{known}"


def reset_projects(projects: str) -> str:
    """Return a statement that logs a reset of each of the projects, which are a query."""
    return (
        "  insert into neverstale.change_log (project_id, resource, action)\n"
        f"  select distinct project_id, {RESET}\n"
        f"    from ({projects}) as widened (project_id);\n"
    )

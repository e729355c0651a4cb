"""The triggers that capture the changes of watched tables."""

import hashlib
from dataclasses import dataclass
from typing import Final

from listener.capture.expressions import Table, differ, quote_identifier, quote_literal
from listener.capture.function_bodies import LOG_TRUNCATE, FunctionBodies
from listener.capture.logged_rows import CaptureLimits, Parent
from listener.capture.watches import Watch
from shared.links.search_path import SEARCH_PATH

# The size of the change log. Its rows are too short for TOAST (see schema.sql), so these two
# are all of it. neverstale.notify() and read.sql use the same expression.
LOG_BYTES: Final = (
    "pg_catalog.pg_relation_size('neverstale.change_log')"
    " + pg_catalog.pg_relation_size('neverstale.change_log_xid')"
)
_TRIGGER_PREFIX: Final = "neverstale_"
_SETTINGS: Final = f"set search_path = {SEARCH_PATH} set row_security = off"
# With these a value has one spelling, whatever the session has set. (With fewer digits, two
# floats may have the same text.)
_TEXT_SETTINGS: Final = (
    " set timezone = 'UTC' set datestyle = 'ISO, MDY' set intervalstyle = 'postgres'"
    " set bytea_output = 'hex' set extra_float_digits = 1 set standard_conforming_strings = on"
)


@dataclass(frozen=True, slots=True)
class TriggerName:
    """A trigger by its table, as SQL, and its name."""

    table: str
    name: str

    def __str__(self) -> str:
        return f"{quote_identifier(self.name)} on {self.table}"

    @property
    def drop_statement(self) -> str:
        return f"drop trigger {self};"


@dataclass(frozen=True, slots=True)
class Trigger:
    """A trigger and its function.

    ``source`` is the body of the function as PostgreSQL stores it, ``settings`` are those that
    the function sets. ``clauses`` say when the trigger fires.
    """

    table: Table
    name: str
    function: str
    settings: str
    source: str
    clauses: tuple[str, str]

    @property
    def statements(self) -> tuple[str, ...]:
        """The SQL that creates it, without the function's comment."""
        trigger = quote_identifier(self.name)
        event, condition = self.clauses
        return (
            f"create or replace function {self.function}() returns trigger\n"
            f"language plpgsql security definer {self.settings} as\n"
            f"{_dollar_quoted(self.source)};",
            f"create or replace trigger {trigger} after {event} on {self.table.sql}\n"
            f"  {condition} execute function {self.function}();",
            f"alter table {self.table.sql} enable always trigger {trigger};",
        )

    @property
    def digest(self) -> str:
        """A digest of its SQL, which changes with it."""
        return hashlib.sha256("\n".join(self.statements).encode()).hexdigest()[:16]

    @property
    def comment(self) -> str:
        """The comment of the function, which says what was installed.

        ``install`` compares it with what is wanted, and the leader with what is there
        (capture.sql).
        """
        source = hashlib.sha256(self.source.encode()).hexdigest()
        return f"neverstale {self.digest} {source} {self.table.sql}"

    @property
    def sql(self) -> str:
        """The SQL that creates it, with the function's comment."""
        comment = f"comment on function {self.function}() is {quote_literal(self.comment)};"
        return "\n".join((*self.statements, comment))


def plan_triggers(
    watch: Watch, table: Table, limits: CaptureLimits, parent: Parent | None = None
) -> tuple[Trigger, ...]:
    """Return the triggers that log every change of the table's rows.

    Triggers are statement-level with transition tables, which fire for cascades too. A
    row-level trigger logs what a row was before it moved (to another project, id or user); its
    WHEN is false for most rows, and costs next to nothing. With columns to ignore, an UPDATE is
    captured row by row. In a tree of tables a row that changes its partition fires no row-level
    trigger: there both transition tables are read. *parent* is given if rows of watched tables
    look up this table's rows.
    """
    bodies = FunctionBodies(watch, table, limits.bulk_threshold, parent)
    plan = _Planner(table, limits.log_max_bytes, watch, bodies)
    triggers = [
        plan.trigger("insert", "referencing new table as changed", bodies.log_inserted()),
        plan.trigger("delete", "referencing old table as changed", bodies.log_deleted()),
        plan.trigger("truncate", "", LOG_TRUNCATE),
    ]
    both = "referencing old table as before new table as changed"
    if table.in_tree:
        triggers.append(plan.trigger("update", both, bodies.log_both()))
        return tuple(triggers)
    if watch.ignore:
        triggers.append(plan.row_trigger("update", "", bodies.skip_ignored + bodies.log_row()))
        return tuple(triggers)
    triggers.append(
        plan.trigger("update", "referencing new table as changed", bodies.log_updated())
    )
    if bodies.row.routing_columns:
        when = f" when ({differ(bodies.row.routing_columns, table)})"
        triggers.append(plan.row_trigger("moved", when, bodies.log_moved()))
    return tuple(triggers)


@dataclass(frozen=True, slots=True)
class _Planner:
    """Makes the triggers of one table from the statements of their functions."""

    table: Table
    log_max_bytes: int
    watch: Watch
    bodies: FunctionBodies

    def trigger(self, name: str, referencing: str, statements: str) -> Trigger:
        """Return a statement-level trigger of the event that it is named for."""
        condition = f"{referencing} for each statement".strip()
        return self._make(name, (name, condition), statements)

    def row_trigger(self, name: str, when: str, statements: str) -> Trigger:
        """Return a row-level trigger of UPDATEs, or of those for which *when* holds."""
        return self._make(name, ("update", f"for each row{when}"), statements)

    def _make(self, name: str, clauses: tuple[str, str], statements: str) -> Trigger:
        table = self.table
        writes_text = bool(self.watch.ignore) or self.bodies.row.is_loose
        digest = hashlib.sha256(f"{table.sql} {name}".encode()).hexdigest()[:8]
        short = f"{table.name.encode()[:40].decode(errors='ignore')}_{name}_{digest}"
        source = f"""
#variable_conflict use_column
declare
  neverstale_heavy text[];
  neverstale_logged bigint;
  neverstale_row record;
  neverstale_rows text[];
begin
  if {LOG_BYTES} > {self.log_max_bytes} then
    perform pg_catalog.nextval('neverstale.skips');
    return null;
  end if;
{self.bodies.check_columns}{statements}  return null;
end
"""
        return Trigger(
            table,
            _TRIGGER_PREFIX + name,
            f"neverstale.{quote_identifier(short)}",
            _SETTINGS + writes_text * _TEXT_SETTINGS,
            source,
            clauses,
        )


def _dollar_quoted(text: str) -> str:
    tag, number = "$neverstale$", 0
    while tag in text:
        number += 1
        tag = f"$neverstale{number}$"
    return f"{tag}{text}{tag}"

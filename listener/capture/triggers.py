"""Watches -> the triggers that capture their changes."""

import hashlib
from dataclasses import dataclass
from typing import Final

from listener.capture.expressions import (
    Table,
    differ,
    quote_identifier,
    quote_literal,
)
from listener.capture.logged_rows import CaptureLimits, LoggedRow, Parent
from listener.capture.watches import Watch
from shared.links.search_path import SEARCH_PATH

TRIGGER_PREFIX: Final = "neverstale_"
# The size of the change log. Its rows are too short for TOAST (see schema.sql), so table and
# its index are all. neverstale.notify() and read.sql use the same expression.
LOG_BYTES: Final = (
    "pg_catalog.pg_relation_size('neverstale.change_log')"
    " + pg_catalog.pg_relation_size('neverstale.change_log_xid')"
)
# A value is written alike whatever the session has set. (Rounded, two floats may be one text.)
_SPELLING: Final = (
    " set timezone = 'UTC' set datestyle = 'ISO, MDY' set intervalstyle = 'postgres'"
    " set bytea_output = 'hex' set extra_float_digits = 1 set standard_conforming_strings = on"
)
_LOG_TRUNCATE: Final = """\
  insert into neverstale.change_log (resource, action) values ('truncate', 'RECONNECT');
"""


@dataclass(frozen=True, slots=True)
class Trigger:
    """One trigger with the function of its own; ``digest`` changes with anything in its SQL."""

    table: Table
    name: str
    function: str
    statements: tuple[str, ...]

    @property
    def digest(self) -> str:
        return hashlib.sha256("\n".join(self.statements).encode()).hexdigest()[:16]

    @property
    def source(self) -> str:
        """The body of the function as PostgreSQL stores it."""
        quoted = self.statements[0].partition(" as\n")[2].removesuffix(";")
        tag = quoted.partition("\n")[0]
        return quoted.removeprefix(tag).removesuffix(tag)

    @property
    def comment(self) -> str:
        """The comment of the function, by which ``install`` finds the trigger unchanged, and a
        leader what was installed (capture.sql).
        """
        source = hashlib.sha256(self.source.encode()).hexdigest()
        return f"neverstale {self.digest} {source} {self.table.sql}"

    @property
    def sql(self) -> str:
        """All its statements."""
        comment = f"comment on function {self.function}() is {quote_literal(self.comment)};"
        return "\n".join((*self.statements, comment))


def plan_triggers(
    watch: Watch, table: Table, capture: CaptureLimits, parent: Parent | None = None
) -> tuple[Trigger, ...]:
    """The triggers that log every change of the table's rows; *parent* if others look it up.

    Statement-level with transition tables, which fire for cascades too. What a row was before
    it moved (another project, id or user) is logged by a row-level trigger, whose false WHEN
    costs next to nothing. In a tree a row that changes its partition fires no row-level
    trigger: there both transition tables are read. With columns to ignore, an UPDATE is
    captured row by row.
    """
    row = LoggedRow(watch, table, capture, parent)
    plan = _Planner(
        table,
        capture,
        writes_text=bool(watch.ignore) or row.is_loose,
        columns=() if row.is_loose else tuple(row.placing),
        is_parent=parent is not None,
    )
    triggers = [
        plan.trigger("insert", "referencing new table as changed", row.log_inserted()),
        plan.trigger("delete", "referencing old table as changed", row.log_deleted()),
        plan.trigger("truncate", "", _LOG_TRUNCATE),
    ]
    both = "referencing old table as before new table as changed"
    if table.in_tree:
        triggers.append(plan.trigger("update", both, row.log_both()))
        return tuple(triggers)
    if watch.ignore:
        triggers.append(plan.row_trigger("update", "", row.skip_ignored + row.log_row()))
        return tuple(triggers)
    triggers.append(
        plan.trigger("update", "referencing new table as changed", row.log("UPDATE"))
    )
    if row.placing:
        when = f" when ({differ(row.placing, table)})"
        triggers.append(plan.row_trigger("moved", when, row.log_moved()))
    return tuple(triggers)


@dataclass(frozen=True, slots=True)
class _Planner:
    """Wraps the body of a function into it, and the function into its trigger."""

    table: Table
    capture: CaptureLimits
    writes_text: bool
    columns: tuple[str, ...]  # that the body names outside of a block that catches errors
    is_parent: bool

    def trigger(self, name: str, referencing: str, body: str) -> Trigger:
        """A statement-level trigger of the event that it is named for."""
        return self._made(name, name, f"{referencing} for each statement".strip(), body)

    def row_trigger(self, name: str, when: str, body: str) -> Trigger:
        """A row-level trigger of UPDATEs, of all or of those of which *when* holds."""
        return self._made(name, "update", f"for each row{when}", body)

    def _made(self, name: str, event: str, clauses: str, body: str) -> Trigger:
        table = self.table
        digest = hashlib.sha256(f"{table.sql} {name}".encode()).hexdigest()[:8]
        short = f"{table.name.encode()[:40].decode(errors='ignore')}_{name}_{digest}"
        function = f"neverstale.{quote_identifier(short)}"
        trigger = quote_identifier(TRIGGER_PREFIX + name)
        settings = f"set search_path = {SEARCH_PATH} set row_security = off"
        settings += self.writes_text * _SPELLING
        text = f"""\
#variable_conflict use_column
declare
  neverstale_heavy text[];
  neverstale_logged bigint;
  neverstale_row record;
  neverstale_rows text[];
begin
  if {LOG_BYTES} > {self.capture.log_max_bytes} then
    perform pg_catalog.nextval('neverstale.skips');
    return null;
  end if;
{self._check_columns()}{body}  return null;
end"""
        return Trigger(
            table,
            TRIGGER_PREFIX + name,
            function,
            (
                f"create or replace function {function}() returns trigger\n"
                f"language plpgsql security definer {settings} as\n"
                f"{_dollar_quoted(text)};",
                f"create or replace trigger {trigger} after {event} on {table.sql}\n"
                f"  {clauses} execute function {function}();",
                f"alter table {table.sql} enable always trigger {trigger};",
            ),
        )

    def _check_columns(self) -> str:
        """A column that was renamed is a reconnect of everybody: no write of the app's may fail
        for it. What is asked for a column that is not there is an error.
        """
        if not self.columns:
            return ""
        asked = " or ".join(
            f"has_column_privilege(tg_relid, {quote_literal(name)}, 'SELECT') is null"
            for name in self.columns
        )
        failed = quote_literal(f"{self.table.sql}: SQLSTATE ")
        below = "    insert into neverstale.moved values (null);\n" if self.is_parent else ""
        return f"""\
  begin
    if {asked} then
      return null;
    end if;
  exception when undefined_column then
    insert into neverstale.change_log (resource, id, action)
    values ('bulk_change', {failed} || sqlstate, 'RECONNECT');
{below}    return null;
  end;
"""


def _dollar_quoted(text: str) -> str:
    tag, number = "$neverstale$", 0
    while tag in text:
        number += 1
        tag = f"$neverstale{number}$"
    return f"{tag}\n{text}\n{tag}"

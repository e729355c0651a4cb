"""Watches -> the SQL that captures their changes."""

import hashlib
import re
from dataclasses import dataclass
from typing import Final

from listener.core.watches import Watch

TRIGGER_PREFIX: Final = "neverstale_"
_WORD: Final = re.compile(r'"((?:[^"]|"")+)"|([A-Za-z_\u0080-\uffff][\w$\u0080-\uffff]*)')


@dataclass(frozen=True, slots=True)
class Table:
    """A watched table as the database describes it."""

    schema: str
    name: str
    columns: tuple[str, ...]

    @property
    def sql(self) -> str:
        return f"{quote_identifier(self.schema)}.{quote_identifier(self.name)}"


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
    def sql(self) -> str:
        """All its statements; by the digest in the comment ``install`` finds it unchanged."""
        digest = quote_literal(f"neverstale {self.digest}")
        comment = f"comment on function {self.function}() is {digest};"
        return "\n".join((*self.statements, comment))


def quote_identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def quote_literal(text: str) -> str:
    """A string constant that reads the same whatever ``standard_conforming_strings`` says."""
    quoted = text.replace("'", "''")
    return f"'{quoted}'" if "\\" not in text else "E'" + quoted.replace("\\", "\\\\") + "'"


def plan_triggers(watch: Watch, table: Table) -> tuple[Trigger, ...]:
    """The triggers that log every change of the table's rows.

    Statement-level with transition tables, which fire for cascades too. What a row was before
    it moved (another project, id or user) is logged by a row-level trigger: its false WHEN
    costs next to nothing.
    """
    new, old = "referencing new table as changed", "referencing old table as changed"
    triggers = [
        _trigger(
            table, "insert", f"{new} for each statement", _log_rows(watch, table, "INSERT")
        ),
        _trigger(
            table, "update", f"{new} for each statement", _log_rows(watch, table, "UPDATE")
        ),
        _trigger(
            table, "delete", f"{old} for each statement", _log_rows(watch, table, "DELETE")
        ),
        _trigger(table, "truncate", "for each statement", _LOG_TRUNCATE),
    ]
    placing = sorted(
        {name for text in watch.expressions.values() for name in columns_in(text, table)}
    )
    if placing:
        moved = " or ".join(
            f"old.{column} is distinct from new.{column}"
            for column in map(quote_identifier, placing)
        )
        body = _log_rows(watch, table, "UPDATE", source="(select old.*) as changed")
        triggers.append(
            _trigger(table, "moved", f"for each row when ({moved})", body, event="update")
        )
    return tuple(triggers)


_LOG_TRUNCATE: Final = """\
  insert into neverstale.change_log (resource, action) values ('truncate', 'RECONNECT');"""


def _log_rows(watch: Watch, table: Table, action: str, *, source: str = "changed") -> str:
    """One row of the log for each of *source*.

    A NULL in a plain project column means that the row belongs to none, so only its user is
    told. A NULL that an expression gives means that its parent is gone: then nobody knows whom
    it concerns, and all are.
    """
    told = {
        key: expression_sql(text, table) if text else "null"
        for key, text in (("id", watch.id), ("project", watch.project), ("user", watch.user))
    }
    resource, action = quote_literal(watch.resource), quote_literal(action)
    condition = ""
    if watch.project is not None and plain_column(watch.project, table):
        condition = f"\n   where {told['project']} is not null"
        if watch.user is not None:
            condition += f" or {told['user']} is not null"
    elif watch.project is not None:
        lost = f"{told['project']} is null"
        resource = f"case when {lost} then 'bulk_change' else {resource} end"
        action = f"case when {lost} then 'RECONNECT' else {action} end"
    return (
        "  insert into neverstale.change_log (project_id, user_id, resource, id, action)\n"
        f"  select {told['project']}, {told['user']}, {resource}, {told['id']}, {action}\n"
        f"    from {source}{condition};"
    )


def columns_in(expression: str, table: Table) -> set[str]:
    """The table's columns that an expression may mention.

    Its words that are names of columns.
    """
    words = {
        quoted.replace('""', '"') if quoted else plain.lower()
        for quoted, plain in _WORD.findall(expression)
    }
    if words & {table.name, "changed"}:
        return set(table.columns)  # a whole-row reference mentions them all
    return words & set(table.columns)


def expression_sql(text: str, table: Table) -> str:
    """A column or an expression over the row, as SQL that yields text."""
    column = plain_column(text, table)
    return f"{quote_identifier(column)}::text" if column else f"({text})::text"


def probe_sql(text: str, table: Table) -> str:
    """A query that fails if the triggers could not evaluate the text."""
    return f"select {expression_sql(text, table)} from {table.sql} as changed"


def plain_column(text: str, table: Table) -> str | None:
    """The column that the text names, if it is nothing but that."""
    found = _WORD.fullmatch(text.strip())
    if not found:
        return None
    quoted, plain = found.groups()
    name = quoted.replace('""', '"') if quoted else plain.lower()
    return name if name in table.columns else None


def _trigger(
    table: Table, name: str, clauses: str, body: str, *, event: str | None = None
) -> Trigger:
    digest = hashlib.sha256(f"{table.sql} {name}".encode()).hexdigest()[:8]
    short = f"{table.name.encode()[:40].decode(errors='ignore')}_{name}_{digest}"
    function = f"neverstale.{quote_identifier(short)}"
    trigger = quote_identifier(TRIGGER_PREFIX + name)
    return Trigger(
        table,
        TRIGGER_PREFIX + name,
        function,
        (
            f"create or replace function {function}() returns trigger\n"
            "language plpgsql security definer set search_path = '' as\n"
            + _dollar_quoted(
                f"#variable_conflict use_column\nbegin\n{body}\n  return null;\nend"
            )
            + ";",
            f"create or replace trigger {trigger} after {event or name} on {table.sql}\n"
            f"  {clauses} execute function {function}();",
            f"alter table {table.sql} enable always trigger {trigger};",
        ),
    )


def _dollar_quoted(text: str) -> str:
    tag, number = "$neverstale$", 0
    while tag in text:
        number += 1
        tag = f"$neverstale{number}$"
    return f"{tag}\n{text}\n{tag}"

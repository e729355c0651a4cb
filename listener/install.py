"""Puts the change log and the triggers into a database, and keeps them as they should be."""

import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import asyncpg

from listener.core.triggers import (
    TRIGGER_PREFIX,
    Capture,
    Table,
    Trigger,
    columns_in,
    equality_sql,
    plan_capture,
    plan_triggers,
    probe_sql,
    quote_identifier,
)
from listener.core.watches import Watch, parse_bulk_threshold, parse_watches
from listener.pg_link import LOCK_CLASS, Connection
from shared.core.access_rules import ConfigError

LOCK_TIMEOUT_SECONDS: Final = 5
_INSTALL_LOCK: Final = 3
_SQL: Final = Path(__file__).parent / "sql"
SCHEMA_SQL: Final = (_SQL / "schema.sql").read_text()
_DESCRIBE: Final = (_SQL / "describe.sql").read_text()
_INSTALLED: Final = (_SQL / "installed.sql").read_text()
_DISABLE: Final = (_SQL / "disable.sql").read_text()
_REMEMBER: Final = """\
update neverstale.installation
   set watches = '{watches}', log_max_bytes = {log_max_bytes}, disabled = false;
delete from neverstale.incarnation;
insert into neverstale.incarnation default values;"""
IS_INSTALLED: Final = "select to_regclass('neverstale.installation') is not null"


class InstallError(Exception):
    """The database did not take it; nothing was changed. The text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Config:
    """What ``install`` brings a database to."""

    watches: tuple[Watch, ...]
    capture: Capture

    @classmethod
    def parse(cls, document: Mapping[str, Any], *, log_max_bytes: int) -> "Config":
        """Read a parsed ``invalidation.toml``. Raises ``ConfigError``."""
        watches = parse_watches(document)
        threshold = parse_bulk_threshold(document)
        capture = plan_capture(watches, bulk_threshold=threshold, log_max_bytes=log_max_bytes)
        return cls(watches, capture)


@dataclass(frozen=True, slots=True)
class Plan:
    """What would have to be done.

    Triggers that are missing or differ, and ours that nobody wants any more.
    """

    create: tuple[Trigger, ...]
    unchanged: tuple[Trigger, ...]
    drop: tuple[str, ...]
    watches: str

    @property
    def triggers(self) -> tuple[Trigger, ...]:
        return (*self.create, *self.unchanged)

    @property
    def statements(self) -> tuple[str, ...]:
        return (*self.drop, *(trigger.sql for trigger in self.create))


async def install(connection: Connection, config: Config) -> Plan:
    """Bring the database to the config, in one transaction; what already is so stays untouched.

    Raises:
        ConfigError: a watched table or an expression does not exist.
        InstallError: a lock could not be had in time, or a right is missing.
    """
    async with _one_transaction(connection):
        await connection.execute(
            "select pg_advisory_xact_lock($1, $2)", LOCK_CLASS, _INSTALL_LOCK
        )
        await connection.execute(SCHEMA_SQL)
        plan = await plan_install(connection, config)
        for statement in plan.statements:
            await connection.execute(statement)
        known = await connection.fetchval("select watches from neverstale.installation")
        if plan.statements or known != plan.watches:
            await connection.execute(_remember(plan.watches, config))
    return plan


async def uninstall(connection: Connection) -> None:
    """Remove everything of ours: triggers, functions, the log. Raises ``InstallError``."""
    async with _one_transaction(connection):
        await connection.execute("drop schema if exists neverstale cascade")


async def disable(connection: Connection) -> None:
    """Stop capture at once, without a lock on any table. ``install`` starts it again.

    Raises:
        InstallError: there is nothing to disable, or a right is missing.
    """
    async with _one_transaction(connection):
        if not await connection.fetchval(IS_INSTALLED):
            raise InstallError("Neverstale is not installed here: there is nothing to disable")
        await connection.execute(_DISABLE)


async def print_sql(connection: Connection, config: Config) -> str:
    """What ``install`` would do to an empty database, for use in migrations.

    Raises ``ConfigError``.
    """
    async with connection.transaction(readonly=True):
        triggers = await _wanted(connection, config)
    statements = [
        SCHEMA_SQL,
        *(trigger.sql for trigger in triggers),
        _remember(_digest(triggers), config),
    ]
    body = "\n\n".join(statements)
    return f"begin;\nset local lock_timeout = '{LOCK_TIMEOUT_SECONDS}s';\n\n{body}\n\ncommit;\n"


@asynccontextmanager
async def _one_transaction(connection: Connection) -> AsyncIterator[None]:
    """A transaction that waits for no lock for long, and says why nothing was changed."""
    try:
        async with connection.transaction():
            await connection.execute(f"set local lock_timeout = '{LOCK_TIMEOUT_SECONDS}s'")
            await connection.execute("set local client_min_messages = warning")
            yield
    except asyncpg.LockNotAvailableError as exc:
        raise InstallError(
            f"a table was locked for over {LOCK_TIMEOUT_SECONDS} s (by a long transaction): "
            "nothing was changed, try again"
        ) from exc
    except asyncpg.InsufficientPrivilegeError as exc:
        raise InstallError(
            f"{exc}: see the grants in docs/operations.md; nothing was changed"
        ) from exc
    except asyncpg.ReadOnlySQLTransactionError as exc:
        raise InstallError(f"DATABASE_URL leads to a read-only server ({exc})") from exc


def _remember(watches: str, config: Config) -> str:
    """What was changed before these triggers is in no log: another incarnation is a reset."""
    return _REMEMBER.format(watches=watches, log_max_bytes=config.capture.log_max_bytes)


async def plan_install(connection: Connection, config: Config) -> Plan:
    """What ``install`` would do to the database. Raises ``ConfigError``."""
    wanted = await _wanted(connection, config)
    rows = await connection.fetch(_INSTALLED, TRIGGER_PREFIX)
    found = {(row["schema"], row["table"], row["name"]): row for row in rows}
    create: list[Trigger] = []
    unchanged: list[Trigger] = []
    for trigger in wanted:
        row = found.pop((trigger.table.schema, trigger.table.name, trigger.name), None)
        same = (
            row is not None
            and row["always"]
            and row["comment"] == f"neverstale {trigger.digest}"
        )
        (unchanged if same else create).append(trigger)
    drop = tuple(
        f"drop trigger {quote_identifier(name)} on {Table(schema, table, ()).sql};"
        for schema, table, name in found
    )
    return Plan(tuple(create), tuple(unchanged), drop, _digest(wanted))


def _digest(triggers: Sequence[Trigger]) -> str:
    return hashlib.sha256(
        " ".join(trigger.digest for trigger in triggers).encode()
    ).hexdigest()[:16]


async def _wanted(connection: Connection, config: Config) -> list[Trigger]:
    """All triggers of the watches, whose tables and expressions were found to be there."""
    problems: list[str] = []
    triggers: list[Trigger] = []
    for watch in config.watches:
        where = f"watch ({watch.table})"
        try:
            tables = await describe_tree(connection, watch)
            for table in tables:
                triggers += plan_triggers(watch, table, config.capture)
        except ConfigError as exc:
            problems += [f"{where} {problem}" for problem in exc.problems]
    if problems:
        raise ConfigError(problems)
    return triggers


async def describe_tree(connection: Connection, watch: Watch) -> list[Table]:
    """The watched table and all below it in its tree.

    Raises:
        ConfigError: there is no such table, or the watch does not fit it.
    """
    try:
        rows = await connection.fetch(_DESCRIBE, watch.table)
    except asyncpg.PostgresSyntaxError:
        rows = []
    if not rows:
        raise ConfigError(["table: there is no such table: write it as schema.table"])
    if rows[0]["relkind"] not in ("r", "p"):
        raise ConfigError(["table: it is no table (a view?): watch the tables below it"])
    named = Table(rows[0]["schema"], rows[0]["name"], tuple(rows[0]["columns"]))
    problems = [
        f"{key}: {text!r} is no column or expression over the row ({problem})"
        for key, text in watch.expressions.items()
        if (problem := await _problem_of(connection, probe_sql(text, named)))
    ]
    placing = {name for text in watch.expressions.values() for name in columns_in(text, named)}
    for column in watch.ignore:
        if column not in named.columns:
            problems.append(f"ignore: there is no column {column}: leave it out")
        elif column in placing:
            problems.append(f"ignore: {column} says whose the row is: leave it out")
    if problems:
        raise ConfigError(problems)
    return [
        Table(
            row["schema"],
            row["name"],
            tuple(row["columns"]),
            in_tree=row["in_tree"],
            incomparable=await _incomparable(connection, row),
            root=named.name,
        )
        for row in rows
        if row["relkind"] in ("r", "p")
    ]


async def _incomparable(connection: Connection, row: "asyncpg.Record") -> frozenset[str]:
    """The columns whose type has no equality."""
    table = Table(row["schema"], row["name"], ())
    found = set()
    for column in row["columns"]:
        if await _problem_of(connection, equality_sql(column, table)):
            found.add(column)
    return frozenset(found)


async def _problem_of(connection: Connection, query: str) -> str | None:
    """Why the triggers could not run the query; or None."""
    try:
        async with as_in_trigger(connection):
            await connection.prepare(query)
    except asyncpg.LockNotAvailableError:
        raise
    except asyncpg.PostgresError as exc:
        return str(exc)
    return None


@asynccontextmanager
async def as_in_trigger(connection: Connection) -> AsyncIterator[None]:
    """Inside, names are found as the triggers find them, whose search_path is empty."""
    savepoint = connection.transaction()
    await savepoint.start()
    try:
        await connection.execute("set local search_path = ''")
        yield
    finally:
        await savepoint.rollback()  # a released one would leave its search_path behind

"""Puts the change log and the triggers into a database, and keeps them as they should be."""

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeVar

import asyncpg

from listener.core.triggers import (
    SEARCH_PATH,
    TRIGGER_PREFIX,
    Capture,
    Table,
    Trigger,
    columns_in,
    plan_capture,
    plan_triggers,
    probe_sql,
    quote_identifier,
)
from listener.core.watches import Watch, parse_bulk_threshold, parse_watches
from listener.pg_link import LOCK_CLASS, Connection
from shared.core.access_rules import ConfigError

# Below PostgreSQL's deadlock_timeout (1 s): in a deadlock it is we who give up, never the app.
_LOCK_TIMEOUT: Final = "800ms"
_TRIES: Final = 6
_PAUSE_SECONDS: Final = 0.2  # for the writers that have queued up behind us
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
_CLEAR_RAW: Final = "update neverstale.installation set raw_notify_seen = false"
_NO_DEADLOCK: Final = f"set local lock_timeout = '{_LOCK_TIMEOUT}';"
_IN_THE_WAY: Final = (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError)
# of the probed table, and of what is below it
_OWN_ALIAS: Final = re.compile(r"changed(_\d+)?")
_Result = TypeVar("_Result")
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


async def install(
    connection: Connection, config: Config, *, clears_raw_notify: bool = False
) -> Plan:
    """Bring the database to the config, in one transaction; what already is so stays untouched.
    With *clears_raw_notify* it is forgotten that others have sent NOTIFYs.

    Raises:
        ConfigError: a watched table or an expression does not exist.
        InstallError: a lock could not be had in time, or a right is missing.
    """

    async def work() -> Plan:
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
        if clears_raw_notify:
            await connection.execute(_CLEAR_RAW)
        return plan

    return await _in_one_transaction(connection, work)


async def uninstall(connection: Connection) -> None:
    """Remove everything of ours: triggers, functions, the log. Raises ``InstallError``."""

    async def work() -> None:
        await connection.execute("drop schema if exists neverstale cascade")

    await _in_one_transaction(connection, work)


async def disable(connection: Connection) -> None:
    """Stop capture at once, without a lock on any table. ``install`` starts it again.

    Raises:
        InstallError: there is nothing to disable, or a right is missing.
    """

    async def work() -> None:
        if not await connection.fetchval(IS_INSTALLED):
            raise InstallError("Neverstale is not installed here: there is nothing to disable")
        await connection.execute(_DISABLE)

    await _in_one_transaction(connection, work)


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
    why = (
        "-- less than deadlock_timeout: if a lock is missed run it again, no writer was harmed"
    )
    return f"begin;\n{why}\n{_NO_DEADLOCK}\n\n{body}\n\ncommit;\n"


async def _in_one_transaction(
    connection: Connection, work: Callable[[], Awaitable[_Result]]
) -> _Result:
    """Do it in a transaction that waits for no lock for long, again and again for some seconds.

    Raises ``InstallError``, which says why nothing was changed.
    """
    try:
        for _ in range(_TRIES - 1):
            try:
                return await _try_once(connection, work)
            except _IN_THE_WAY:
                await asyncio.sleep(_PAUSE_SECONDS)
        return await _try_once(connection, work)
    except _IN_THE_WAY as exc:
        raise InstallError(
            f"a table was locked at each of {_TRIES} tries (by a long transaction): "
            "nothing was changed, try again"
        ) from exc
    except asyncpg.InsufficientPrivilegeError as exc:
        raise InstallError(
            f"{exc}: see the grants in docs/operations.md; nothing was changed"
        ) from exc
    except asyncpg.ReadOnlySQLTransactionError as exc:
        raise InstallError(f"DATABASE_URL leads to a read-only server ({exc})") from exc


async def _try_once(connection: Connection, work: Callable[[], Awaitable[_Result]]) -> _Result:
    async with connection.transaction():
        await connection.execute(_NO_DEADLOCK)
        await connection.execute("set local statement_timeout = 0")
        await connection.execute("set local client_min_messages = warning")
        return await work()


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
    described: dict[str, tuple[Watch, Table]] = {}
    parents = set(config.capture.parents)
    for watch in config.watches:
        where = f"watch ({watch.table})"
        try:
            tables = await describe_tree(connection, watch)
        except ConfigError as exc:
            problems += [f"{where} {problem}" for problem in exc.problems]
            continue
        for table in tables:
            if table.sql in described:
                other, _ = described[table.sql]
                problems.append(
                    f"{where} table: {table.sql} is watched by ({other.table}) already: "
                    "leave one out"
                )
            described[table.sql] = watch, table
        if watch.project:
            parents |= {
                found.name for found in await looked_up(connection, watch.project, tables[0])
            }
    if problems:
        raise ConfigError(problems)
    capture = replace(config.capture, parents=frozenset(parents))
    return [
        trigger
        for watch, table in described.values()
        for trigger in plan_triggers(watch, table, capture)
    ]


async def looked_up(connection: Connection, text: str, table: Table) -> set[Table]:
    """The tables that an expression over the table's rows reads, through views too."""
    async with as_in_trigger(connection):
        explained = await connection.fetchval(
            "explain (verbose, format json) " + probe_sql(text, table)
        )
    return set(_relations(json.loads(explained)))


def _relations(plan: Any) -> Iterator[Table]:
    """The tables that a plan reads, wherever they are in it, but for the probed one."""
    if isinstance(plan, list):
        for part in plan:
            yield from _relations(part)
    elif isinstance(plan, dict):
        if "Relation Name" in plan and not _OWN_ALIAS.fullmatch(plan["Alias"]):
            yield Table(plan["Schema"], plan["Relation Name"], ())
        yield from _relations(list(plan.values()))


async def describe_tree(connection: Connection, watch: Watch) -> list[Table]:
    """The watched table and all below it in its tree.

    Raises:
        ConfigError: there is no such table, or the watch does not fit it.
    """
    try:
        async with connection.transaction():
            rows = await connection.fetch(_DESCRIBE, watch.table)
    except (
        asyncpg.PostgresSyntaxError,
        asyncpg.InvalidNameError,
        asyncpg.FeatureNotSupportedError,  # another database's
    ):
        rows = []
    if not rows:
        raise ConfigError(["table: there is no such table: write it as schema.table"])
    if rows[0]["relkind"] not in ("r", "p"):
        raise ConfigError(["table: it is no table (a view?): watch the tables below it"])
    if any(row["relkind"] == "f" for row in rows):
        raise ConfigError(
            [
                "table: a partition is a foreign table, where PostgreSQL allows no such "
                "triggers: watch the other partitions one by one"
            ]
        )
    named = Table(rows[0]["schema"], rows[0]["name"], tuple(rows[0]["columns"]))
    problems = [
        f"{key}: {text!r} is no column or expression over the row ({problem})"
        for key, text in watch.expressions.items()
        if (problem := await _problem_of(connection, probe_sql(text, named)))
    ]
    placing = {name for text in watch.expressions.values() for name in columns_in(text, named)}
    problems += [
        f"{name} is a virtual column, which no trigger can read: write its expression instead"
        for name in rows[0]["virtual"]
        if name in placing
    ]
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
            loose=frozenset(row["loose"]),
            root=named.name,
            unbounded=frozenset(row["unbounded"]),
        )
        for row in rows
        if row["relkind"] in ("r", "p")
    ]


async def _problem_of(connection: Connection, query: str) -> str | None:
    """Why the triggers could not run the query; or None."""
    try:
        async with as_in_trigger(connection):
            await connection.execute(f"explain {query}")  # PREPARE asks for no rights
    except asyncpg.LockNotAvailableError:
        raise
    except asyncpg.PostgresError as exc:
        return str(exc)
    return None


@asynccontextmanager
async def as_in_trigger(connection: Connection) -> AsyncIterator[None]:
    """Inside, names are found as the triggers find them."""
    savepoint = connection.transaction()
    await savepoint.start()
    try:
        await connection.execute(f"set local search_path = {SEARCH_PATH}")
        yield
    finally:
        await savepoint.rollback()  # a released one would leave its search_path behind

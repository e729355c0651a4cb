"""Installs the change log and the triggers in a database, and removes them."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any, Final, TypeVar

import asyncpg

from listener.capture.expressions import Table, quote_literal
from listener.capture.function_owner import (
    RIGHTS_SQL,
    describe_exposures,
    ensure_owner,
    ensure_visibility,
    find_reach,
    owner_statements,
)
from listener.capture.logged_rows import CaptureLimits, Parent
from listener.capture.triggers import Trigger, TriggerName, plan_triggers
from listener.capture.watched_tables import Watched, describe_watches, find_parents
from listener.capture.watches import Watch, parse_bulk_threshold, parse_watches
from listener.leader.session import LEADER_PID
from listener.links.pg_link import Connection, rolled_back_transaction
from shared.config.access_rules import AccessRules, parse_access
from shared.links.search_path import SEARCH_PATH

# Shorter than PostgreSQL's deadlock_timeout (1 s): in a deadlock install gives up, not the app.
_SET_LOCK_TIMEOUT: Final = "set local lock_timeout = '800ms';"
_MAX_ATTEMPTS: Final = 6
_PAUSE_SECONDS: Final = 0.2  # for the writers that have queued up behind the lock
_SQL: Final = Path(__file__).parent / "sql"
SCHEMA_SQL: Final = (_SQL / "schema.sql").read_text()
_INSTALLED: Final = (_SQL / "installed.sql").read_text()
_DISABLE: Final = (_SQL / "disable.sql").read_text()
_DROP_ORPHANS: Final = (_SQL / "orphans.sql").read_text()
_VERSION: Final = 5  # of the schema
_DEFINE_SETTINGS: Final = """\
create or replace function neverstale.settings(
    out version integer, out watches text, out log_max_bytes bigint, out disabled boolean
) returns setof record language sql stable as
  """
_START_INCARNATION: Final = """\
delete from neverstale.incarnation;
insert into neverstale.incarnation default values;"""
_CLEAR_RAW_NOTIFY: Final = "select setval('neverstale.raw_notify_seen', 1, false)"
_BLOCKED: Final = (
    asyncpg.LockNotAvailableError,
    asyncpg.DeadlockDetectedError,
    asyncpg.UniqueViolationError,  # another install has just created the schema
)
# Keeps two installs apart. Only roles that may write Neverstale's tables can hold this lock.
# It conflicts with no read or write of rows.
_LOCK_INSTALLATION: Final = "lock table neverstale.installation in share update exclusive mode"
_Result = TypeVar("_Result")
IS_INSTALLED: Final = "select to_regclass('neverstale.installation') is not null"


class InstallError(Exception):
    """Nothing was changed in the database. The text says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Config:
    """What ``install`` installs in a database."""

    watches: tuple[Watch, ...]
    limits: CaptureLimits
    access: AccessRules

    @classmethod
    def parse(cls, document: Mapping[str, Any], *, log_max_bytes: int) -> "Config":
        """Read a parsed ``invalidation.toml``. Raises ``ConfigError``."""
        limits = CaptureLimits(parse_bulk_threshold(document), log_max_bytes)
        return cls(parse_watches(document), limits, parse_access(document))


@dataclass(frozen=True, slots=True)
class Plan:
    """The difference between a database and a ``Config``.

    ``create``: triggers that are missing or differ. ``drop``: triggers that run a function of
    Neverstale and belong to no watch. ``watches``: a digest of all wanted triggers.
    """

    create: tuple[Trigger, ...]
    unchanged: tuple[Trigger, ...]
    drop: tuple[TriggerName, ...]
    watches: str
    watched: tuple[Watched, ...]

    @property
    def triggers(self) -> tuple[Trigger, ...]:
        return (*self.create, *self.unchanged)

    @property
    def statements(self) -> tuple[str, ...]:
        return (
            *(name.drop_statement for name in self.drop),
            *(trigger.sql for trigger in self.create),
        )


async def install(
    connection: Connection,
    config: Config,
    *,
    owner: str | None = None,
    clears_raw_notify: bool = False,
) -> Plan:
    """Install what the config says, in one transaction.

    Triggers that are up to date are not touched. The trigger functions are given to the role
    *owner*, which is created if it does not exist. None: they keep their owner, at the first
    install the role that installs. With *clears_raw_notify* the database forgets that other
    producers have sent NOTIFYs.

    Raises:
        ConfigError: a watched table or an expression does not exist, or its ids are not of the
            type that [access] names.
        InstallError: a table was locked, a right is missing, or the owner of a watched table
            would gain the rights of the functions' owner.
    """

    async def work() -> Plan:
        if await connection.fetchval(IS_INSTALLED):
            await connection.execute(_LOCK_INSTALLATION)
        await connection.execute(SCHEMA_SQL)
        plan = await plan_install(connection, config)
        for statement in plan.statements:
            await connection.execute(statement)
        await connection.execute(_DROP_ORPHANS)
        installed = await connection.fetchval("select watches from neverstale.installation")
        if plan.statements or installed != plan.watches:
            await connection.execute(_settings_sql(plan.watches, config.limits))
        await _settle_rights(connection, plan, owner)
        if clears_raw_notify:
            await connection.execute(_CLEAR_RAW_NOTIFY)
        return plan

    return await _in_one_transaction(connection, work)


async def _settle_rights(connection: Connection, plan: Plan, wanted: str | None) -> None:
    """Give the trigger functions to an owner that can read all that they look up.

    Raises:
        InstallError: a right is missing, or somebody would gain the owner's rights.
    """
    try:
        owner = await ensure_owner(connection, wanted)
    except ValueError as exc:
        raise InstallError(f"--owner {wanted}: {exc}") from exc
    reach = await find_reach(connection, plan.watched, owner)
    if reach.exposures:
        raise InstallError(f"{describe_exposures(reach, owner)}; nothing was changed")
    if owner != await connection.fetchval("select current_user::text"):
        for statement in owner_statements(owner, reach.reads):
            await connection.execute(statement)
    hidden = await ensure_visibility(connection, plan.watched, owner)
    if hidden:
        problems = "; ".join(map(str, hidden))
        raise InstallError(
            f"the trigger functions belong to {owner}: {problems}; nothing was changed"
        )
    await connection.execute(RIGHTS_SQL)


async def uninstall(connection: Connection) -> None:
    """Remove the triggers, the functions and the change log. Raises ``InstallError``."""

    async def work() -> None:
        if await connection.fetchval(LEADER_PID) is not None:
            raise InstallError("a listener leads in this database: stop all listeners first")
        await connection.execute("drop schema if exists neverstale cascade")

    await _in_one_transaction(connection, work)


async def disable(connection: Connection) -> None:
    """Stop capture, without locking any watched table. ``install`` starts it again.

    Raises:
        InstallError: Neverstale is not installed, or a right is missing.
    """

    async def work() -> None:
        if not await connection.fetchval(IS_INSTALLED):
            raise InstallError("Neverstale is not installed here: there is nothing to disable")
        await connection.execute(_LOCK_INSTALLATION)
        await connection.execute(_DISABLE)

    await _in_one_transaction(connection, work)


async def print_sql(connection: Connection, config: Config, *, owner: str | None = None) -> str:
    """Return the SQL that ``install`` would run in an empty database, for use in migrations.

    Raises ``ConfigError``.
    """
    async with rolled_back_transaction(connection):
        watched = await describe_watches(connection, config.watches, config.access)
        triggers = await _wanted(connection, config, watched)
        reads = (await find_reach(connection, watched, owner)).reads if owner else ()
    statements = [
        SCHEMA_SQL,
        *(trigger.sql for trigger in triggers),
        _DROP_ORPHANS,
        _settings_sql(_digest(triggers), config.limits),
        *(owner_statements(owner, reads) if owner else ()),
        RIGHTS_SQL,
    ]
    body = "\n\n".join(statements)
    reason = (
        "-- shorter than deadlock_timeout, so no writer fails: if it expires, run this again"
    )
    path = f"set local search_path = {SEARCH_PATH};"
    return f"begin;\n{path}\n{reason}\n{_SET_LOCK_TIMEOUT}\n\n{body}\n\ncommit;\n"


async def _in_one_transaction(
    connection: Connection, work: Callable[[], Awaitable[_Result]]
) -> _Result:
    """Run *work* in a transaction that never waits long for a lock; retry for some seconds.

    Raises:
        InstallError: the database refused it.
    """
    try:
        for _ in range(_MAX_ATTEMPTS - 1):
            try:
                return await _try_once(connection, work)
            except _BLOCKED:
                await asyncio.sleep(_PAUSE_SECONDS)
        return await _try_once(connection, work)
    except _BLOCKED as exc:
        raise InstallError(
            f"a long transaction held a lock on a table during {_MAX_ATTEMPTS} attempts; "
            "nothing was changed: try again"
        ) from exc
    except asyncpg.OutOfMemoryError as exc:
        locks = await connection.fetchval("show max_locks_per_transaction")
        raise InstallError(
            f"{exc}: a lock is needed for each watched table and partition; raise "
            f"max_locks_per_transaction (now {locks}), restart PostgreSQL, and try again; "
            "nothing was changed"
        ) from exc
    except asyncpg.InsufficientPrivilegeError as exc:
        raise InstallError(
            f"{exc}: see the grants in docs/how-to/postgresql-roles.md; nothing was changed"
        ) from exc
    except asyncpg.ReadOnlySQLTransactionError as exc:
        raise InstallError(f"DATABASE_URL leads to a read-only server ({exc})") from exc


async def _try_once(connection: Connection, work: Callable[[], Awaitable[_Result]]) -> _Result:
    async with connection.transaction():
        await connection.execute(f"set local search_path = {SEARCH_PATH}")
        await connection.execute(_SET_LOCK_TIMEOUT)
        await connection.execute("set local statement_timeout = 0")
        await connection.execute("set local client_min_messages = warning")
        return await work()


def _settings_sql(watches: str, limits: CaptureLimits) -> str:
    """Return SQL that stores what was installed, and starts a new incarnation of the log.

    Changes made before these triggers existed are in no log: a new incarnation is a reset.
    """
    settings = f"select {_VERSION}, {quote_literal(watches)}, {limits.log_max_bytes}, false"
    return f"{_DEFINE_SETTINGS}{quote_literal(settings)};\n{_START_INCARNATION}"


async def plan_install(connection: Connection, config: Config) -> Plan:
    """Compare the database with the config. Raises ``ConfigError``."""
    watched = await describe_watches(connection, config.watches, config.access)
    wanted = await _wanted(connection, config, watched)
    rows = await connection.fetch(_INSTALLED)
    found = {(row["schema"], row["table"], row["name"]): row for row in rows}
    create: list[Trigger] = []
    unchanged: list[Trigger] = []
    for trigger in wanted:
        row = found.pop((trigger.table.schema, trigger.table.name, trigger.name), None)
        is_unchanged = (
            row is not None
            and row["always"]
            and row["is_fixed"]
            and row["source"] == trigger.source
            and row["comment"] == trigger.comment
        )
        (unchanged if is_unchanged else create).append(trigger)
    drop = tuple(
        TriggerName(Table(schema, table, ()).sql, name) for schema, table, name in found
    )
    return Plan(tuple(create), tuple(unchanged), drop, _digest(wanted), tuple(watched))


def _digest(triggers: Sequence[Trigger]) -> str:
    return hashlib.sha256(
        " ".join(trigger.digest for trigger in triggers).encode()
    ).hexdigest()[:16]


async def _wanted(
    connection: Connection, config: Config, watched: Sequence[Watched]
) -> list[Trigger]:
    """Return all triggers of the watches."""
    parents: dict[str, Parent] = {}
    for watch, tables in watched:
        for name, parent in (await find_parents(connection, watch, tables)).items():
            parents[name] = parent.merged(parents.get(name, parent))
    triggers: list[Trigger] = []
    for watch, tables in watched:
        found = [parents[table.sql] for table in tables if table.sql in parents]
        in_tree = reduce(Parent.merged, found) if found else None
        for table in tables:
            triggers += plan_triggers(watch, table, config.limits, in_tree)
    return triggers

"""Puts the change log and the triggers into a database, and keeps them as they should be."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any, Final, TypeVar

import asyncpg

from listener.capture.expressions import Table, quote_identifier
from listener.capture.function_owner import (
    RIGHTS_SQL,
    describe_exposures,
    ensure_owner,
    ensure_sight,
    find_reach,
    owner_statements,
)
from listener.capture.logged_rows import Capture, Parent
from listener.capture.triggers import Trigger, plan_triggers
from listener.capture.watched_tables import Watched, describe_watches, find_parents
from listener.capture.watches import Watch, parse_bulk_threshold, parse_watches
from listener.links.pg_link import LEADER_PID, Connection, reading
from shared.config.access_rules import AccessRules, parse_access
from shared.links.search_path import SEARCH_PATH

# Below PostgreSQL's deadlock_timeout (1 s): in a deadlock it is we who give up, never the app.
_LOCK_TIMEOUT: Final = "800ms"
_TRIES: Final = 6
_PAUSE_SECONDS: Final = 0.2  # for the writers that have queued up behind us
_SQL: Final = Path(__file__).parent / "sql"
SCHEMA_SQL: Final = (_SQL / "schema.sql").read_text()
_INSTALLED: Final = (_SQL / "installed.sql").read_text()
_DISABLE: Final = (_SQL / "disable.sql").read_text()
_DROP_ORPHANS: Final = (_SQL / "orphans.sql").read_text()
_REMEMBER: Final = """\
create or replace function neverstale.settings(
    out version integer, out watches text, out log_max_bytes bigint, out disabled boolean
) returns setof record language sql stable as
  'select 5, ''{watches}'', {log_max_bytes}, false';
delete from neverstale.incarnation;
insert into neverstale.incarnation default values;"""
_CLEAR_RAW: Final = "select setval('neverstale.raw_notify_seen', 1, false)"
_NO_DEADLOCK: Final = f"set local lock_timeout = '{_LOCK_TIMEOUT}';"
_IN_THE_WAY: Final = (
    asyncpg.LockNotAvailableError,
    asyncpg.DeadlockDetectedError,
    asyncpg.UniqueViolationError,  # another install made the schema in this moment
)
# Only who may write our tables can hold it; readers and writers of rows are not in its way.
_ONE_AT_A_TIME: Final = "lock table neverstale.installation in share update exclusive mode"
_Result = TypeVar("_Result")
IS_INSTALLED: Final = "select to_regclass('neverstale.installation') is not null"


class InstallError(Exception):
    """The database did not take it; nothing was changed. The text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Config:
    """What ``install`` brings a database to."""

    watches: tuple[Watch, ...]
    capture: Capture
    access: AccessRules

    @classmethod
    def parse(cls, document: Mapping[str, Any], *, log_max_bytes: int) -> "Config":
        """Read a parsed ``invalidation.toml``. Raises ``ConfigError``."""
        capture = Capture(parse_bulk_threshold(document), log_max_bytes)
        return cls(parse_watches(document), capture, parse_access(document))


@dataclass(frozen=True, slots=True)
class Plan:
    """What would have to be done.

    Triggers that are missing or differ, and ours that nobody wants any more.
    """

    create: tuple[Trigger, ...]
    unchanged: tuple[Trigger, ...]
    drop: tuple[str, ...]
    watches: str
    watched: tuple[Watched, ...]

    @property
    def triggers(self) -> tuple[Trigger, ...]:
        return (*self.create, *self.unchanged)

    @property
    def statements(self) -> tuple[str, ...]:
        return (*self.drop, *(trigger.sql for trigger in self.create))


async def install(
    connection: Connection,
    config: Config,
    *,
    owner: str | None = None,
    clears_raw_notify: bool = False,
) -> Plan:
    """Bring the database to the config, in one transaction; what already is so stays untouched.
    With *clears_raw_notify* it is forgotten that others have sent NOTIFYs.

    Functions belong to the role *owner* from now on, which is created if there is none. None:
    to whom they belonged, at first to the role that installs.

    Raises:
        ConfigError: a watched table or an expression does not exist, or its ids are not of the
            type that [access] says.
        InstallError: a lock could not be had in time, a right is missing, or an owner of a
            watched table would gain the rights of the functions' owner.
    """

    async def work() -> Plan:
        if await connection.fetchval(IS_INSTALLED):
            await connection.execute(_ONE_AT_A_TIME)
        await connection.execute(SCHEMA_SQL)
        plan = await plan_install(connection, config)
        for statement in plan.statements:
            await connection.execute(statement)
        await connection.execute(_DROP_ORPHANS)
        known = await connection.fetchval("select watches from neverstale.installation")
        if plan.statements or known != plan.watches:
            await connection.execute(_remember(plan.watches, config))
        await _settle_rights(connection, plan, owner)
        if clears_raw_notify:
            await connection.execute(_CLEAR_RAW)
        return plan

    return await _in_one_transaction(connection, work)


async def _settle_rights(connection: Connection, plan: Plan, wanted: str | None) -> None:
    """Leave trigger functions to a role whose rights nobody gains, and that sees all that they
    look up. Raises ``InstallError``.
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
    hidden = await ensure_sight(connection, plan.watched, owner)
    if hidden:
        told = "; ".join(map(str, hidden))
        raise InstallError(f"our functions belong to {owner}: {told}; nothing was changed")
    await connection.execute(RIGHTS_SQL)


async def uninstall(connection: Connection) -> None:
    """Remove everything of ours: triggers, functions, the log. Raises ``InstallError``."""

    async def work() -> None:
        if await connection.fetchval(LEADER_PID) is not None:
            raise InstallError("a listener leads here: stop all listeners first")
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
        await connection.execute(_ONE_AT_A_TIME)
        await connection.execute(_DISABLE)

    await _in_one_transaction(connection, work)


async def print_sql(connection: Connection, config: Config, *, owner: str | None = None) -> str:
    """What ``install`` would do to an empty database, for use in migrations.

    Raises ``ConfigError``.
    """
    async with reading(connection):
        watched = await describe_watches(connection, config.watches, config.access)
        triggers = await _wanted(connection, config, watched)
        reads = (await find_reach(connection, watched, owner)).reads if owner else ()
    statements = [
        SCHEMA_SQL,
        *(trigger.sql for trigger in triggers),
        _DROP_ORPHANS,
        _remember(_digest(triggers), config),
        *(owner_statements(owner, reads) if owner else ()),
        RIGHTS_SQL,
    ]
    body = "\n\n".join(statements)
    why = (
        "-- less than deadlock_timeout: if a lock is missed run it again, no writer was harmed"
    )
    path = f"set local search_path = {SEARCH_PATH};"
    return f"begin;\n{path}\n{why}\n{_NO_DEADLOCK}\n\n{body}\n\ncommit;\n"


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
        await connection.execute(_NO_DEADLOCK)
        await connection.execute("set local statement_timeout = 0")
        await connection.execute("set local client_min_messages = warning")
        return await work()


def _remember(watches: str, config: Config) -> str:
    """What was changed before these triggers is in no log: another incarnation is a reset."""
    return _REMEMBER.format(watches=watches, log_max_bytes=config.capture.log_max_bytes)


async def plan_install(connection: Connection, config: Config) -> Plan:
    """What ``install`` would do to the database. Raises ``ConfigError``."""
    watched = await describe_watches(connection, config.watches, config.access)
    wanted = await _wanted(connection, config, watched)
    rows = await connection.fetch(_INSTALLED)
    found = {(row["schema"], row["table"], row["name"]): row for row in rows}
    create: list[Trigger] = []
    unchanged: list[Trigger] = []
    for trigger in wanted:
        row = found.pop((trigger.table.schema, trigger.table.name, trigger.name), None)
        same = (
            row is not None
            and row["always"]
            and row["is_fixed"]
            and row["source"] == trigger.source
            and row["comment"] == trigger.comment
        )
        (unchanged if same else create).append(trigger)
    drop = tuple(
        f"drop trigger {quote_identifier(name)} on {Table(schema, table, ()).sql};"
        for schema, table, name in found
    )
    return Plan(tuple(create), tuple(unchanged), drop, _digest(wanted), tuple(watched))


def _digest(triggers: Sequence[Trigger]) -> str:
    return hashlib.sha256(
        " ".join(trigger.digest for trigger in triggers).encode()
    ).hexdigest()[:16]


async def _wanted(
    connection: Connection, config: Config, watched: Sequence[Watched]
) -> list[Trigger]:
    """All triggers of the watches."""
    parents: dict[str, Parent] = {}
    for watch, tables in watched:
        for name, parent in (await find_parents(connection, watch, tables)).items():
            parents[name] = parent.merged(parents.get(name, parent))
    triggers: list[Trigger] = []
    for watch, tables in watched:
        found = [parents[table.sql] for table in tables if table.sql in parents]
        in_tree = reduce(Parent.merged, found) if found else None
        for table in tables:
            triggers += plan_triggers(watch, table, config.capture, in_tree)
    return triggers

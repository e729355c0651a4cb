"""Puts the change log and the triggers into a database, and takes them out again."""

import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg

from listener.core.triggers import (
    TRIGGER_PREFIX,
    Table,
    Trigger,
    plan_triggers,
    probe_sql,
    quote_identifier,
)
from listener.core.watches import Watch
from listener.pg_link import LOCK_CLASS, Connection
from shared.core.access_rules import ConfigError

LOCK_TIMEOUT_SECONDS: Final = 5
_INSTALL_LOCK: Final = 3
_SQL: Final = Path(__file__).parent / "sql"
SCHEMA_SQL: Final = (_SQL / "schema.sql").read_text()
_DESCRIBE: Final = (_SQL / "describe.sql").read_text()
_INSTALLED: Final = (_SQL / "installed.sql").read_text()


class InstallError(Exception):
    """The database did not take it; nothing was changed. The text says why and what to do."""


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
    def statements(self) -> tuple[str, ...]:
        return (*self.drop, *(trigger.sql for trigger in self.create))


async def install(connection: Connection, watches: Sequence[Watch]) -> Plan:
    """Bring the database to what *watches* say, in one transaction.

    What already is so stays untouched.

    Raises:
        ConfigError: a watched table or an expression does not exist.
        InstallError: a lock could not be had in time, or a right is missing.
    """
    async with _one_transaction(connection):
        await connection.execute(
            "select pg_advisory_xact_lock($1, $2)", LOCK_CLASS, _INSTALL_LOCK
        )
        await connection.execute(SCHEMA_SQL)
        plan = await _plan(connection, watches)
        for statement in plan.statements:
            await connection.execute(statement)
        await _remember(connection, plan)
    return plan


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


async def uninstall(connection: Connection) -> None:
    """Remove everything of ours: triggers, functions, the log. Raises ``InstallError``."""
    async with _one_transaction(connection):
        await connection.execute("drop schema if exists neverstale cascade")


async def print_sql(connection: Connection, watches: Sequence[Watch]) -> str:
    """What ``install`` would do to an empty database, for use in migrations.

    Raises ``ConfigError``.
    """
    async with connection.transaction(readonly=True):
        triggers = await _wanted(connection, watches)
    statements = [
        SCHEMA_SQL,
        *(trigger.sql for trigger in triggers),
        _REMEMBER.format(watches=_digest(triggers)),
        _RENEW,
    ]
    body = "\n\n".join(statements)
    return f"begin;\nset local lock_timeout = '{LOCK_TIMEOUT_SECONDS}s';\n\n{body}\n\ncommit;\n"


_REMEMBER: Final = "update neverstale.installation set watches = '{watches}';"
# Changes made before these triggers were there are in no log: another incarnation makes the
# listener reset.
_RENEW: Final = """\
delete from neverstale.incarnation;
insert into neverstale.incarnation default values;"""


async def _remember(connection: Connection, plan: Plan) -> None:
    before = await connection.fetchval("select watches from neverstale.installation")
    if plan.statements or before != plan.watches:
        await connection.execute(_REMEMBER.format(watches=plan.watches))
        await connection.execute(_RENEW)


async def _plan(connection: Connection, watches: Sequence[Watch]) -> Plan:
    wanted = await _wanted(connection, watches)
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


async def _wanted(connection: Connection, watches: Sequence[Watch]) -> list[Trigger]:
    """All triggers of the watches, whose tables and expressions were found to be there."""
    problems: list[str] = []
    triggers: list[Trigger] = []
    for watch in watches:
        where = f"watch ({watch.table})"
        row = await _describe(connection, watch.table)
        if row is None:
            problems.append(f"{where} table: there is no such table: write it as schema.table")
            continue
        if row["relkind"] != "r" or row["relispartition"]:
            problems.append(
                f"{where} table: only ordinary tables can be watched yet: watch another one"
            )
            continue
        table = Table(row["schema"], row["name"], tuple(row["columns"]))
        found = [
            f"{where} {key}: {text!r} is no column or expression over the row ({problem})"
            for key, text in watch.expressions.items()
            if (problem := await _problem_of(connection, text, table))
        ]
        problems += found
        if not found:
            triggers += plan_triggers(watch, table)
    if problems:
        raise ConfigError(problems)
    return triggers


async def _describe(connection: Connection, table: str) -> "asyncpg.Record | None":
    try:
        return await connection.fetchrow(_DESCRIBE, table)
    except asyncpg.PostgresSyntaxError:
        return None


async def _problem_of(connection: Connection, text: str, table: Table) -> str | None:
    """Why the triggers, whose search_path is empty, could not evaluate the expression.

    Or None.
    """
    savepoint = connection.transaction()
    await savepoint.start()
    try:
        await connection.execute("set local search_path = ''")
        await connection.prepare(probe_sql(text, table))
    except asyncpg.LockNotAvailableError:
        raise
    except asyncpg.PostgresError as exc:
        return str(exc)
    finally:
        await savepoint.rollback()  # a released one would leave its search_path behind
    return None

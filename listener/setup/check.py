"""Compares a database with ``invalidation.toml``, and notes what triggers cannot capture."""

from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import asyncpg

from listener.capture.function_owner import (
    describe_exposures,
    ensure_owner,
    find_hidden,
    find_reach,
)
from listener.capture.probe_view import looked_up
from listener.capture.watched_tables import Watched, find_parents
from listener.leader.change_log import read_capture
from listener.leader.project_members import ProjectMembers
from listener.links.pg_link import Connection, using_search_path
from listener.setup.database_findings import (
    MIN_SERVER_VERSION,
    DatabaseFacts,
    ExcessRight,
    LookUp,
    find_in_database,
)
from listener.setup.install import (
    IS_INSTALLED,
    Config,
    Plan,
    plan_install,
)
from shared.config.access_rules import AccessRules, ConfigError, bounded_sql
from shared.runtime.findings import Finding
from shared.runtime.lifecycle import FatalError

_SQL: Final = Path(__file__).parent / "sql"
_MISPLACED: Final = (_SQL / "misplaced.sql").read_text()
_FOREIGN: Final = (_SQL / "foreign.sql").read_text()
_SUBSCRIPTIONS: Final = (_SQL / "subscriptions.sql").read_text()
_RESTORED: Final = """\
select count(*) from neverstale.change_log
 where xid >= pg_snapshot_xmax(pg_current_snapshot())"""
_SECURED: Final = """\
select oid::regclass::text as name from pg_class
 where relnamespace = 'neverstale'::regnamespace and relkind = 'r' and relrowsecurity"""
_IS_DISABLED: Final = "select disabled from neverstale.installation"
_RAW_NOTIFY_SEEN: Final = "select raw_notify_seen from neverstale.installation"
_SERVER: Final = """\
select current_setting('server_version_num')::int / 10000 as server_version,
       pg_is_in_recovery() as is_standby"""


async def check(connection: Connection, config: Config, rules: AccessRules) -> list[Finding]:
    """Compare the database with the config, and verify the queries that listeners run.

    Must run inside a transaction.
    """
    return find_in_database(await read_facts(connection, config, rules))


async def read_facts(
    connection: Connection, config: Config, rules: AccessRules
) -> DatabaseFacts:
    """Read the facts that ``find_in_database`` judges. Must run inside a transaction."""
    row = await connection.fetchrow(_SERVER)
    assert row is not None  # noqa: S101 it selects one row
    server = DatabaseFacts(row["server_version"], row["is_standby"])
    if server.server_version < MIN_SERVER_VERSION or server.is_standby:
        return server
    if not await connection.fetchval(IS_INSTALLED):
        return replace(server, is_installed=False)
    is_disabled = await connection.fetchval(_IS_DISABLED)
    try:
        plan = await plan_install(connection, config)
    except ConfigError as exc:  # a table or column that the file names does not exist
        capture = None if is_disabled else await read_capture(connection)
        return replace(
            server,
            wrong_entries=exc.problems,
            is_disabled=is_disabled,
            differences=capture.differences if capture else (),
        )
    return replace(
        server,
        is_disabled=is_disabled,
        missing_triggers=[(trigger.table.sql, trigger.name) for trigger in plan.create],
        unknown_triggers=[str(name) for name in plan.drop],
        foreign_triggers=[
            (row["table"], row["trigger"]) for row in await connection.fetch(_FOREIGN)
        ],
        **await _read_rights(connection, plan),
        **await _read_access(connection, rules),
        **await _read_uncaptured(connection, plan),
        **await _read_look_ups(connection, plan.watched, _watched_tables(plan)),
    )


async def _read_rights(connection: Connection, plan: Plan) -> dict[str, Any]:
    """Return the rights on Neverstale's objects beyond docs/how-to/postgresql-roles.md."""
    excess = [ExcessRight(**row) for row in await connection.fetch(_MISPLACED)]
    owner = await ensure_owner(connection, None)
    reach = await find_reach(connection, plan.watched, owner)
    return {
        "excess_rights": excess,
        "owner": owner,
        "exposure": describe_exposures(reach, owner) if reach.exposures else "",
        "hidden": [str(one) for one in await find_hidden(connection, plan.watched, owner)],
        "secured_tables": [row["name"] for row in await connection.fetch(_SECURED)],
    }


async def _read_access(connection: Connection, rules: AccessRules) -> dict[str, Any]:
    """Verify the queries of [access], without planning them."""
    members, error, hidden = ProjectMembers(connection, rules), "", []
    try:
        await members.verify_names()
    except FatalError as exc:
        error = str(exc)
    with suppress(asyncpg.PostgresError):  # it is in the error
        hidden = [str(one) for one in await members.find_hidden()]
    return {
        "access_error": await _find_access_error(connection, rules),
        "has_members": bool(rules.members),
        "members_error": error,
        "hidden_from_listeners": hidden,
    }


async def _find_access_error(connection: Connection, rules: AccessRules) -> str:
    """Return why gateways cannot run ``[access] query``, if its names do not fit the schema."""
    try:
        async with using_search_path(connection, "default"):
            await connection.prepare(bounded_sql(rules.query, 1))
    except asyncpg.PostgresError as exc:
        return f"[access] query failed: {exc}"
    return ""


async def _read_uncaptured(connection: Connection, plan: Plan) -> dict[str, Any]:
    subscriptions = await connection.fetch(_SUBSCRIPTIONS, list(_watched_tables(plan)))
    return {
        "max_prepared_transactions": int(
            await connection.fetchval("show max_prepared_transactions")
        ),
        "raw_notify_seen": await connection.fetchval(_RAW_NOTIFY_SEEN),
        "restored_rows": await connection.fetchval(_RESTORED),
        "subscriptions": [(row["table"], row["subscription"]) for row in subscriptions],
    }


def _watched_tables(plan: Plan) -> set[str]:
    return {trigger.table.sql for trigger in plan.triggers}


async def _read_look_ups(
    connection: Connection, watched_tables: Iterable[Watched], watched: Collection[str]
) -> dict[str, Any]:
    """Return look-ups of an unwatched table, and those that no foreign key guarantees."""
    unbound, unwatched = [], []
    for watch, tables in watched_tables:
        table = tables[0]
        parents = await find_parents(connection, watch, tables)
        unbound += [
            LookUp(watch.table, "project", name)
            for name, parent in sorted(parents.items())
            if name in watched and not parent.is_bound
        ]
        for key, text in watch.expressions.items():
            found = {found.sql for found in await looked_up(connection, text, table)}
            unwatched += [
                LookUp(watch.table, key, name) for name in sorted(found.difference(watched))
            ]
    return {"unbound_parents": unbound, "unwatched_look_ups": unwatched}

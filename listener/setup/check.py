"""Compares a database with ``invalidation.toml``, and notes what triggers cannot capture."""

from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

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
from listener.links.pg_link import Connection
from listener.setup.install import (
    IS_INSTALLED,
    Config,
    Plan,
    plan_install,
)
from shared.config.access_rules import AccessRules, ConfigError
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
_RUN_INSTALL: Final = "run neverstale install"
_DISABLED: Final = f"capture is disabled: {_RUN_INSTALL} to enable it"


@dataclass(frozen=True, slots=True)
class Findings:
    """What ``check`` found, a line each.

    ``problems`` are differences from the file, with what to do. ``notes`` are changes that are
    not captured even if there is no difference.
    """

    problems: tuple[str, ...]
    notes: tuple[str, ...] = ()


async def check(connection: Connection, config: Config, rules: AccessRules) -> Findings:
    """Compare the database with the config, and verify the queries that listeners run.

    Must run inside a transaction.
    """
    if not await connection.fetchval(IS_INSTALLED):
        return Findings((f"Neverstale is not installed here: {_RUN_INSTALL}",))
    try:
        plan = await plan_install(connection, config)
    except ConfigError as exc:  # a table or column that the file names does not exist
        if await connection.fetchval(_IS_DISABLED):
            return Findings((*exc.problems, _DISABLED))
        differences = (await read_capture(connection)).differences
        return Findings((*exc.problems, *(f"{one}: {_RUN_INSTALL}" for one in differences)))
    problems = [
        f"trigger {trigger.name} on {trigger.table.sql} is missing or differs: {_RUN_INSTALL}"
        for trigger in plan.create
    ]
    problems += [
        f"trigger {name} belongs to no [[watch]]: {_RUN_INSTALL} to drop it"
        for name in plan.drop
    ]
    if await connection.fetchval(_IS_DISABLED):
        problems.append(_DISABLED)
    problems += [
        f"trigger {row['trigger']} on {row['table']} sends cache_invalidate, which is lost "
        "while no listener runs: drop it if the table is watched"
        for row in await connection.fetch(_FOREIGN)
    ]
    problems += await _find_rights(connection, plan)
    try:
        await ProjectMembers(connection, rules).verify_names()
    except FatalError as exc:
        problems.append(str(exc))
    with suppress(asyncpg.PostgresError):  # reported above
        problems += map(str, await ProjectMembers(connection, rules).find_hidden())
    notes = await _find_notes(connection, plan)
    if not rules.members:
        notes.append(
            "[access] members is missing: until it is set, a change of a project is sent only "
            "to the user that the project's own row names"
        )
    return Findings(tuple(problems), tuple(notes))


async def _find_rights(connection: Connection, plan: Plan) -> list[str]:
    """Return the rights on Neverstale's objects beyond docs/how-to/postgresql-roles.md."""
    problems = [
        f"{row['role']} has {row['privileges']} on {row['object']}, which it does not need: "
        f"{row['statement']}"
        for row in await connection.fetch(_MISPLACED)
    ]
    owner = await ensure_owner(connection, None)
    reach = await find_reach(connection, plan.watched, owner)
    if reach.exposures:
        problems.append(describe_exposures(reach, owner))
    problems += [
        f"the trigger functions belong to {owner}: {hidden}"
        for hidden in await find_hidden(connection, plan.watched, owner)
    ]
    problems += [
        f"row-level security of {row['name']} is on: {_RUN_INSTALL}"
        for row in await connection.fetch(_SECURED)
    ]
    return problems


async def _find_notes(connection: Connection, plan: Plan) -> list[str]:
    watched = {trigger.table.sql for trigger in plan.triggers}
    notes = []
    prepared = await connection.fetchval("show max_prepared_transactions")
    if prepared != "0":
        notes.append(
            f"max_prepared_transactions is {prepared}: PREPARE TRANSACTION fails in a "
            "transaction that changed a watched table, since it has sent a NOTIFY"
        )
    if await connection.fetchval("select raw_notify_seen from neverstale.installation"):
        notes.append(
            "another producer has sent a NOTIFY cache_invalidate with a payload: since then, "
            "each change of leader and each lost session resets all clients (one may have been "
            "missed); when no producer sends them any more, run neverstale install "
            "--clear-raw-notify"
        )
    if restored := await connection.fetchval(_RESTORED):
        notes.append(
            f"{restored} rows of the change log were restored from a dump of another cluster: "
            "they are not published, and the next leader removes them; to exclude them from "
            "dumps, use pg_dump --no-unlogged-table-data"
        )
    notes += [
        f"subscription {row['subscription']} writes {row['table']}: what logical replication "
        "applies is not captured; watch the table in the database where it is changed, or call "
        "neverstale.notify()"
        for row in await connection.fetch(_SUBSCRIPTIONS, list(watched))
    ]
    return notes + await _find_parent_notes(connection, plan.watched, watched)


async def _find_parent_notes(
    connection: Connection, watched_tables: Iterable[Watched], watched: Collection[str]
) -> list[str]:
    """Note expressions that look up an unwatched table, or one without a foreign key."""
    notes = []
    for watch, tables in watched_tables:
        table = tables[0]
        parents = await find_parents(connection, watch, tables)
        notes += [
            f"watch ({watch.table}) project: looks up {name}, but no foreign key guarantees "
            "that the row exists: each INSERT and DELETE there resets the row's project"
            for name, parent in sorted(parents.items())
            if name in watched and not parent.is_bound
        ]
        for key, text in watch.expressions.items():
            found = {found.sql for found in await looked_up(connection, text, table)}
            notes += [
                f"watch ({watch.table}) {key}: looks up {name}, which is not watched: a change "
                f"there that gives rows another {key} is not captured; add a [[watch]] for it"
                for name in sorted(found.difference(watched))
            ]
    return notes

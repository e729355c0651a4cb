"""The app's own logical replication works through install, upgrade and disable."""

import asyncio
from typing import Final

import asyncpg

from listener.leader.leader import TICK_SECONDS
from listener.setup.install import SCHEMA_SQL
from tests.support.changes import assert_flows
from tests.support.database import Database
from tests.support.demo_data import TASK
from tests.support.processes import HANG_SECONDS, ROOT
from tests.support.roles import NOTIFY
from tests.support.world import World

VERSION_4: Final = (ROOT / "tests/support/sql/schema_version_4.sql").read_text()
_WAITING: Final = """\
select count(*) from pg_locks
 where not granted and relation = 'neverstale.installation'::regclass"""


async def assert_replicated(world: World, subscriber: Database, title: str) -> None:
    await world.database.execute("update tasks set title = $1 where id = $2", title, TASK)
    found = "select title from tasks where id = $1"
    async with asyncio.timeout(HANG_SECONDS):
        while await subscriber.fetchval(found, TASK) != title:
            await asyncio.sleep(0.05)


async def restart_with_logical_wal(world: World) -> None:
    await world.database.execute("alter system set wal_level = logical")
    world.servers.postgres.stop()
    world.servers.postgres.start()
    await world.reconnect_database()


async def test_a_publication_for_all_tables_has_none_of_ours(own_world: World) -> None:
    """From schema version 4, which had one, through all our commands."""
    world = own_world
    await world.command("listener", "uninstall")
    await world.database.execute(VERSION_4)
    await restart_with_logical_wal(world)
    await world.database.execute("create publication everything for all tables")
    await world.database.execute("select pg_create_logical_replication_slot('app', 'pgoutput')")
    await world.database.execute("create database subscriber")
    subscriber = await asyncpg.connect(world.servers.postgres.database_url("subscriber"))
    for script in ("schema.sql", "data.sql"):
        await subscriber.execute((ROOT / "demo" / script).read_text())
    await subscriber.execute(VERSION_4)  # without our table there, replication would fail
    await subscriber.execute(
        f"create subscription app connection '{world.database_url}' publication everything"
        " with (create_slot = false, copy_data = false, enabled = false);"
        "alter subscription app enable"
    )
    steps = ("install", "install", "disable", "install", "uninstall", "install")
    for number, command in enumerate(steps):
        code, _, errors = await world.command("listener", command)
        assert (code, errors) == (0, ""), command
        await assert_replicated(world, subscriber, f"{number}: after {command}")
    published = "select tablename from pg_publication_tables where schemaname = 'neverstale'"
    assert await world.database.fetch(published) == []
    assert not await subscriber.fetchval("select disabled from neverstale.installation")
    await subscriber.execute(f"set search_path = pg_catalog; {SCHEMA_SQL}; reset search_path")
    assert not await subscriber.fetchval("select disabled from neverstale.installation")
    await assert_replicated(world, subscriber, "after the subscriber's own upgrade")
    await subscriber.execute(
        "alter subscription app disable;"
        "alter subscription app set (slot_name = none);"
        "drop subscription app"
    )
    await subscriber.close()


async def test_an_upgrade_keeps_the_state_and_fails_no_call_of_notify(
    world: World,
) -> None:
    await world.command("listener", "uninstall")
    await world.database.execute(VERSION_4)
    await world.database.execute(
        "update neverstale.installation set raw_notify_seen = true, log_max_bytes = 5,"
        " disabled = true, watches = 'x', skipped = true, skips_noted = 7"
    )
    before = await world.database.fetchrow("select * from neverstale.installation")
    sessions = [await asyncpg.connect(world.database_url) for _ in range(4)]
    holder, upgrading, *callers = sessions
    await callers[0].execute(
        NOTIFY
    )  # one session has a plan of the older function, the other has none
    await holder.execute(f"begin; {NOTIFY}")
    await upgrading.execute("begin")
    async with asyncio.timeout(HANG_SECONDS), asyncio.TaskGroup() as tasks:
        upgrade = tasks.create_task(upgrading.execute(SCHEMA_SQL))
        for number, session in enumerate([None, *callers]):
            if session is not None:
                tasks.create_task(session.execute(NOTIFY))
            while await world.database.fetchval(_WAITING) != number + 1:
                await asyncio.sleep(0.02)
        await holder.execute("commit")
        await upgrade
        await upgrading.execute("commit")
    after = await world.database.fetchrow("select * from neverstale.installation")
    assert dict(after or {}) == {**dict(before or {}), "version": 5}
    for session in sessions:
        await session.close()


async def test_rows_of_another_cluster_are_removed_and_not_published(world: World) -> None:
    """Rows of a restored dump: their xids are not assigned here yet."""
    later = "(pg_snapshot_xmax(pg_current_snapshot())::text::bigint + 100000000)::text::xid8"
    await world.database.execute(
        "insert into neverstale.change_log (xid, project_id, resource, id, action)"
        f" values ({later}, null, 'truncate', null, 'RECONNECT'),"
        f" ({later}, '{world.apollo}', 'task', '{TASK}', 'DELETE');"
        f"insert into neverstale.moved values ('{world.gemini}', {later})"
    )
    code, output, errors = await world.command("neverstale", "check")
    assert (code, errors) == (0, "")
    assert (
        "note: 2 rows of the change log were restored from a dump of another cluster" in output
    )
    listener = await world.listener()
    gateway = await world.gateway()
    async with world.client(gateway, world.apollo, world.ada) as client:
        async with asyncio.timeout(HANG_SECONDS):
            for rest in ("change_log where action <> 'UPDATE' and project_id is null", "moved"):
                while await world.database.fetchval(f"select count(*) from neverstale.{rest}"):
                    await asyncio.sleep(TICK_SECONDS / 4)
        await assert_flows(world, client)
        assert "DELETE" not in "".join(client.raw)
    assert [line["reason"] for line in listener.lines if line["message"] == "reset"] == ["gap"]
    assert "note:" not in (await world.command("neverstale", "check"))[1]


async def test_an_event_trigger_that_refuses_is_reported_and_nothing_changes(
    world: World,
) -> None:
    await world.database.execute(
        "create function refuse() returns event_trigger language plpgsql as"
        " $$begin raise exception 'no % today', tg_tag; end$$;"
        "create event trigger refuse on ddl_command_start when tag in ('CREATE FUNCTION')"
        " execute function refuse()"
    )
    for command in ("install", "disable"):
        code, _, errors = await world.command("listener", command)
        assert code == 1
        assert errors.rstrip().endswith("nothing was changed: no CREATE FUNCTION today")
    await world.database.execute("drop event trigger refuse")
    assert (await world.command("neverstale", "check"))[0] == 0

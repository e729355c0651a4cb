"""The listener's commands, raw NOTIFYs, and what it refuses."""

import asyncio
import json
import signal
from functools import partial
from pathlib import Path

import asyncpg

from tests.support.changes import assert_flows, change, is_reset
from tests.support.demo_data import TASK
from tests.support.inspection import metric
from tests.support.pooler import running_pooler
from tests.support.processes import HANG_SECONDS, Part, eventually
from tests.support.world import World


async def notify(world: World, payload: str) -> None:
    await world.database.execute("select pg_notify('cache_invalidate', $1)", payload)


async def test_a_raw_notify_becomes_an_event(world: World) -> None:
    await world.listener()
    gateway = await world.gateway()
    async with world.client(gateway, world.apollo, world.ada) as client:
        payload = {
            "resource": "report",
            "id": 7,
            "action": "update",
            "projectId": world.apollo.upper(),
            "timestamp": "2026-11-24T10:00:00.123456Z",
        }
        await notify(world, json.dumps(payload))
        frame = await client.next()
        assert frame["data"] == {
            "resource": "report",
            "id": "7",
            "action": "UPDATE",
            "project_id": world.apollo,
            "timestamp": "2026-11-24T10:00:00.123456Z",
        }


async def test_a_clock_that_was_set_back_makes_no_negative_lag(world: World) -> None:
    """Rows from before are from the future then."""
    listener = await world.listener()
    gateway = await world.gateway()
    async with world.client(gateway, world.apollo, world.ada) as client:
        await world.database.execute(
            "insert into neverstale.change_log (project_id, resource, id, action, at)"
            " values ($1, 'task', '1', 'UPDATE', now() + interval '1 day')",
            world.apollo,
        )
        assert (await client.next())["data"]["id"] == "1"
    assert await metric(world, listener, "neverstale_publish_lag_seconds_sum") >= 0


async def test_a_malformed_notify_is_logged_counted_and_skipped(world: World) -> None:
    listener = await world.listener()
    gateway = await world.gateway()
    async with world.client(gateway, world.apollo, world.ada) as client:
        for payload in ("no json", "[]", '{"resource":"task","action":"UPDATE"}'):
            await notify(world, payload)
        await assert_flows(world, client)
    lines = (
        {"count": 1, "reason": "the payload is not JSON"},
        {"count": 2, "reason": "project_id is missing"},
    )
    for fields in lines:
        await eventually(
            partial(listener.logged, "malformed notifications skipped", **fields), "logged"
        )
    async with world.http.get(f"{listener.url}/metrics") as response:
        assert "neverstale_notify_malformed_total 3.0" in await response.text()


async def test_once_a_raw_notify_was_seen_a_lost_session_is_a_reset(world: World) -> None:
    leader = await world.listener()
    standby = await world.listener(role="standby")
    gateway = await world.gateway()
    async with world.client(gateway, world.apollo, world.ada) as client:
        project = json.dumps(world.apollo)
        await notify(
            world, f'{{"resource":"x","id":"1","action":"UPDATE","project_id":{project}}}'
        )
        await client.next()
        await leader.end(signal.SIGKILL)
        frame = await client.next()
        assert frame == {"type": "reconnect", "data": {"reason": "notify_reconnect"}}
        await standby.ready(world.http, role="leader")
        await assert_flows(world, client)


async def test_a_transaction_hides_nothing_however_late_it_commits(world: World) -> None:
    await world.listener()
    gateway = await world.gateway()
    late = await asyncpg.connect(world.database_url)
    async with world.client(gateway, world.apollo, world.ada) as client:
        transaction = late.transaction()
        await transaction.start()
        async with late.transaction():  # a savepoint
            await late.execute("update tasks set title = 'late' where id = $1", TASK)
        for _ in range(5):
            await world.database.execute(
                "update sprints set name = 'x' where project_id = $1", world.apollo
            )
            assert (await client.next())["resource"] == "sprint"
        await transaction.commit()
        assert (await client.next())["data"]["id"] == TASK
    await late.close()


async def test_install_is_idempotent_and_uninstall_leaves_nothing(world: World) -> None:
    code, output, _ = await world.command("listener", "install")
    assert (code, "created" in output) == (0, False)
    await world.database.execute("alter table tasks disable trigger neverstale_insert")
    code, output, _ = await world.command("listener", "install")
    assert [line for line in output.splitlines() if "created" in line] == [
        'created  neverstale_insert on "public"."tasks"'
    ]
    assert (await world.command("listener", "uninstall"))[0] == 0
    left = await world.database.fetchval(
        "select count(*) from pg_trigger where tgname like 'neverstale%'"
    )
    assert left == 0
    assert await world.database.fetchval("select to_regnamespace('neverstale')") is None
    code, _, errors = await world.command("listener")
    assert (code, "neverstale install" in errors) == (1, True)


async def test_a_table_that_is_no_longer_watched_loses_its_triggers(
    world: World, tmp_path: Path
) -> None:
    config = tmp_path / "invalidation.toml"
    config.write_text('[[watch]]\ntable = "tasks"\nresource = "task"\nproject = "project_id"\n')
    code, output, _ = await world.command("listener", "install", NEVERSTALE_CONFIG=str(config))
    assert code == 0
    assert output.count("dropped ") == 20
    await world.listener(NEVERSTALE_CONFIG=str(config))
    gateway = await world.gateway()
    async with world.client(gateway, world.apollo, world.ada) as client:
        await change(world)
        frame = await client.next()
        assert is_reset(frame), "without an id a plain client could do nothing with an event"
        assert frame["project_id"] == world.apollo


async def test_sql_prints_what_install_does(world: World) -> None:
    _, script, _ = await world.command("listener", "sql")
    installed = await world.database.fetchval("select watches from neverstale.installation")
    await world.command("listener", "uninstall")
    await world.database.execute(script)
    code, output, _ = await world.command("listener", "install")
    assert (code, "created" in output) == (0, False)
    assert installed == await world.database.fetchval(
        "select watches from neverstale.installation"
    )


async def test_mistakes_in_the_config_are_told_with_table_and_key(
    world: World, tmp_path: Path
) -> None:
    config = tmp_path / "invalidation.toml"
    config.write_text(
        '[[watch]]\ntable = "nowhere"\nresource = "x"\nproject = "project_id"\n'
        '[[watch]]\ntable = "tasks"\nresource = "x"\nproject = "projectt_id"\n'
    )
    code, _, errors = await world.command("listener", "install", NEVERSTALE_CONFIG=str(config))
    assert code == 2
    assert "watch (nowhere) table: there is no such table" in errors
    assert "watch (tasks) project: 'projectt_id' is no column or expression" in errors
    config.write_text("[access]\nproject_type = 'serial'\n")
    for module in ("listener", "gateway"):
        code, _, errors = await world.command(module, NEVERSTALE_CONFIG=str(config))
        assert code == 2
        assert errors.startswith("neverstale")
        assert "Traceback" not in errors


async def test_install_gives_up_on_a_locked_table_and_changes_nothing(world: World) -> None:
    await world.command("listener", "uninstall")
    blocker = await asyncpg.connect(world.database_url)
    transaction = blocker.transaction()
    await transaction.start()
    for mode in ("share", "access exclusive"):
        await blocker.execute(f"lock table tasks in {mode} mode")
        code, _, errors = await world.command("listener", "install")
        assert (code, "held a lock" in errors) == (1, True)
        assert await world.database.fetchval("select to_regnamespace('neverstale')") is None
    await transaction.rollback()
    await blocker.close()


async def test_wrong_settings_are_refused_a_line_each(world: World) -> None:
    code, _, errors = await world.command(
        "gateway", JWT_SECRET="short", PORT="no", DATABASE_URL="", REDIS_URL="http://secret@x"
    )
    assert code == 2
    lines = errors.strip().splitlines()
    assert [line.split()[2] for line in lines] == [
        "DATABASE_URL",
        "REDIS_URL",
        "PORT",
        "JWT_SECRET",
    ]
    assert "secret@x" not in errors
    for module in ("listener", "gateway"):
        code, output, _ = await world.command(module, "--help")
        assert code == 0
        assert "DATABASE_URL" in output


async def test_a_busy_port_is_named(world: World) -> None:
    listener = await world.listener()
    code, _, errors = await world.command("listener", HEALTH_PORT=str(listener.port))
    assert code == 1
    assert f"port {listener.port}" in errors
    assert "HEALTH_PORT" in errors


async def test_a_pooler_without_sessions_is_found_and_refused(
    world: World, tmp_path: Path
) -> None:
    with running_pooler(world, tmp_path) as pooler:
        for database, told in {
            "transaction": "pooler in transaction mode",
            "statement": "pooler in transaction mode",
            "session?schema=public": "unsupported startup parameter: search_path",
        }.items():
            url = f"{pooler}/{database}"
            part = Part("listener", world.environment(DATABASE_URL=url, HEALTH_PORT="0"), 0)
            world.parts.append(part)
            await part.start()
            assert await part.exited() == 1
            [line] = [line for line in part.lines if line["message"] == "cannot continue"]
            assert told in line["reason"]


async def test_the_log_is_pruned_of_what_the_saved_cursor_has_seen(world: World) -> None:
    """A leader prunes with its first tick.

    A long transaction's row stays, and holds nobody else's.
    """
    late = await asyncpg.connect(world.database_url)
    transaction = late.transaction()
    await transaction.start()
    await late.execute("update projects set name = 'late' where id = $1", world.gemini)
    for _ in range(10):
        await change(world)
    await world.listener()
    first = await world.listener(role="standby")
    gateway = await world.gateway()
    async with world.client(gateway, world.gemini, world.grace) as client:
        await world.parts[0].end()
        await first.ready(world.http, role="leader")
        async with asyncio.timeout(HANG_SECONDS):
            while await world.database.fetchval("select count(*) from neverstale.change_log"):
                await asyncio.sleep(0.05)
        await transaction.commit()
        assert (await client.next())["data"]["id"] == world.gemini
    await late.close()


async def test_a_read_only_server_is_told_and_waited_for(world: World) -> None:
    name = world.database_url.rpartition("/")[2]
    await world.database.execute(
        f"alter database {name} set default_transaction_read_only = on"
    )
    for command in ("install", "uninstall"):
        code, _, errors = await world.command("listener", command)
        assert (code, "read-only" in errors) == (1, True)
        assert "Traceback" not in errors
    await world.database.execute("set default_transaction_read_only = off")
    await world.database.execute(f"alter database {name} reset default_transaction_read_only")
    await world.listener()


async def test_uninstall_without_rights_says_so(world: World) -> None:
    role = f"nobody_{world.database_url.rpartition('_')[2]}"
    await world.database.execute(f"create role {role} login")
    url = world.database_url.replace("postgres@", f"{role}@")
    code, _, errors = await world.command("listener", "uninstall", DATABASE_URL=url)
    assert (code, "see the grants" in errors, "Traceback" in errors) == (1, True, False)

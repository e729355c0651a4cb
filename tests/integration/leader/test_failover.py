"""Crashes and restarts: every client hears of every change, or is told that it may have missed
some.
"""

import asyncio
import signal

import pytest

from tests.support.changes import (
    assert_consistent_after,
    assert_flows,
    change,
    insert_tasks,
    is_reset,
)
from tests.support.processes import (
    HANG_SECONDS,
    ROOT,
    WS_PATH,
    Client,
    connected,
    eventually,
    token,
)
from tests.support.world import World

_SAVE_LUA = (ROOT / "listener/leader/lua/save.lua").read_text()


async def test_kill_9_of_the_leader_loses_nothing(world: World) -> None:
    leader = await world.listener()
    standby = await world.listener(role="standby")
    gateway = await world.gateway()
    async with world.client(gateway, world.apollo, world.ada, v1=True) as client:
        await change(world)
        await client.next()
        await leader.end(signal.SIGKILL)
        changed = await insert_tasks(world, 50)
        frames = await assert_consistent_after(client, changed)
        assert not any(map(is_reset, frames)), "the log proves it: no reset was needed"
        await standby.ready(world.http, role="leader")


async def test_a_change_with_no_listener_at_all_is_told_by_the_next_one(world: World) -> None:
    first = await world.listener()
    gateway = await world.gateway()
    async with world.client(gateway, world.apollo, world.ada) as client:
        await change(world)
        await client.next()
        await first.end(signal.SIGTERM)
        changed = await insert_tasks(world, 20)
        await world.listener()
        frames = await assert_consistent_after(client, changed)
        assert not any(map(is_reset, frames))


@pytest.mark.parametrize("crash", [True, False], ids=["kill -9", "clean"])
async def test_a_restarted_redis_resets_and_the_flow_goes_on(
    own_world: World, *, crash: bool
) -> None:
    world = own_world
    listener = await world.listener()
    gateway = await world.gateway()
    async with (
        world.client(gateway, world.apollo, world.ada) as plain,
        world.client(gateway, world.apollo, world.ada, v1=True) as v1,
    ):
        await change(world)
        await plain.next()
        await v1.next()
        world.servers.valkey.kill() if crash else world.servers.valkey.stop()
        await eventually(lambda: gateway.logged("redis lost"), "the gateway noticed")
        changed = await insert_tasks(world, 5)
        await gateway.ready(world.http, status=503, redis=False)
        world.servers.valkey.start()
        for client in (plain, v1):
            frames = await assert_consistent_after(client, changed)
            # a slow machine may take long enough for a status before it
            assert is_reset(next(frame for frame in frames if frame["type"] != "status"))
        await gateway.ready(world.http)
        for client in (plain, v1):
            await assert_flows(world, client)
    assert listener.process is not None
    assert listener.process.returncode is None


async def test_a_frozen_redis_is_noticed_though_tcp_lives(own_world: World) -> None:
    world = own_world
    listener, gateway = await world.listener(), await world.gateway()
    async with world.client(gateway, world.apollo, world.ada) as client:
        world.servers.valkey.freeze()
        changed = await insert_tasks(world, 5)
        await eventually(lambda: gateway.logged("redis lost"), "the gateway noticed")
        await eventually(lambda: listener.logged("redis lost"), "the listener noticed")
        world.servers.valkey.thaw()
        await assert_consistent_after(client, changed)


async def test_a_leader_whose_redis_is_away_keeps_its_place(own_world: World) -> None:
    world = own_world
    listener = await world.listener()
    gateway = await world.gateway()
    async with world.client(gateway, world.apollo, world.ada) as client:
        world.servers.valkey.kill()
        changed = await insert_tasks(world, 500)
        await eventually(lambda: listener.logged("redis lost"), "the listener noticed")
        world.servers.valkey.start()
        await assert_consistent_after(client, changed)
        await listener.ready(world.http, role="leader")


async def test_what_could_not_be_published_is_published_again(world: World) -> None:
    """The place in the log is saved only once all before it was acknowledged."""
    listener = await world.listener()
    gateway = await world.gateway()
    async with world.client(gateway, world.apollo, world.ada) as client, world.redis() as redis:
        # saving goes on, publishing fails; in one step, as the leader saves with each tick
        async with redis.pipeline(transaction=True) as steps:
            steps.script_flush()  # type: ignore[unused-awaitable]
            steps.script_load(_SAVE_LUA)  # type: ignore[unused-awaitable]
            await steps.execute()
        changed = await insert_tasks(world, 1)
        await eventually(lambda: listener.logged("redis lost"), "it could not be published")
        await assert_consistent_after(client, changed)


async def test_a_cut_link_to_redis_costs_no_event(world: World) -> None:
    """The links are cut, Redis keeps its data.

    The leader catches up exactly, the gateway resets.
    """
    listener = await world.listener()
    gateway = await world.gateway()
    async with world.client(gateway, world.apollo, world.ada) as client:
        async with world.redis() as redis:
            for kind in ("pubsub", "normal"):
                await redis.client_kill_filter(_type=kind, skipme=True)
        changed = await insert_tasks(world, 50)
        await assert_consistent_after(client, changed)
        assert not listener.logged("reset", reason="log_lost")


async def test_a_redis_that_comes_back_older_proves_nothing(own_world: World) -> None:
    """What it forgot is pruned from PostgreSQL, too: only a reset is left to tell of it."""
    world = own_world
    leader = await world.listener()
    gateway = await world.gateway()
    async with world.client(gateway, world.apollo, world.ada, v1=True) as client:
        await change(world)
        cursor = (await client.next())["cursor"]
    async with world.redis() as redis:
        await redis.save()
    async with world.client(gateway, world.apollo, world.ada, v1=True) as client:
        await insert_tasks(world, 1)
        await client.next()
    await leader.end()
    await world.listener()
    async with asyncio.timeout(HANG_SECONDS):
        while await world.database.fetchval("select count(*) from neverstale.change_log"):
            await asyncio.sleep(0.05)
    world.servers.valkey.kill()
    await eventually(lambda: gateway.logged("redis lost"), "the gateway noticed")
    world.servers.valkey.start()
    await gateway.ready(world.http)
    async with world.client(gateway, world.apollo, world.ada) as client:
        await assert_flows(world, client)
    bearer = f"bearer.{token(world.ada)}"
    async with world.http.ws_connect(
        f"{gateway.url}{WS_PATH}?project_id={world.apollo}&since={cursor}",
        protocols=("neverstale.v1", bearer),
    ) as socket:
        assert (await Client(socket).next())["resumed"] == []


@pytest.mark.parametrize("crash", [True, False], ids=["kill -9", "clean"])
async def test_a_restarted_postgresql_is_caught_up_or_reset(
    own_world: World, *, crash: bool
) -> None:
    world = own_world
    parts = [await world.listener(), await world.listener(role="standby")]
    gateway = await world.gateway()
    async with world.client(gateway, world.apollo, world.ada) as client:
        await change(world)
        await client.next()
        world.servers.postgres.kill() if crash else world.servers.postgres.stop()
        await eventually(lambda: parts[0].logged("postgresql lost"), "the leader noticed")
        world.servers.postgres.start()
        await world.reconnect_database()
        changed = await insert_tasks(world, 10)
        frames = await assert_consistent_after(client, changed)
        assert any(map(is_reset, frames)), "another start of the server proves nothing"
        await assert_flows(world, client)


async def test_a_database_that_is_away_refuses_newcomers_and_harms_nobody(
    own_world: World,
) -> None:
    world = own_world
    await world.listener()
    gateway = await world.gateway()
    async with world.client(gateway, world.apollo, world.ada, v1=True) as client:
        world.servers.postgres.stop()
        async with connected(
            world.http, gateway, world.gemini, world.grace, v1=True
        ) as refused:
            assert (await refused.next())["code"] == "unavailable"
            assert await refused.closed() == 1013
        await client.socket.send_str('{"type":"ping"}')
        assert await client.next() == {"type": "pong"}
        world.servers.postgres.start()


async def test_install_while_running_resets_only_when_watches_change(world: World) -> None:
    await world.listener()
    gateway = await world.gateway()
    async with world.client(gateway, world.apollo, world.ada) as client:
        assert await world.install() == 0
        await change(world)
        assert not is_reset(await client.next())
        await world.database.execute("drop trigger neverstale_update on tasks")
        assert await world.install() == 0
        frame = await client.next()
        assert frame["data"] == {"reason": "log_lost"}
        await change(world)
        # one more reset, of this too, if the leader saw the trigger gone before it was back
        if is_reset(await client.next()):
            await change(world)
            assert not is_reset(await client.next())


async def test_sigterm_closes_sockets_with_1012_and_exits_0(world: World) -> None:
    listener = await world.listener()
    gateway = await world.gateway()
    async with world.client(gateway, world.apollo, world.ada) as client:
        assert gateway.process is not None
        gateway.process.send_signal(signal.SIGTERM)
        assert await client.closed() == 1012
        assert await gateway.exited() == 0
    assert await listener.end() == 0

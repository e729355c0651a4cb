"""A leader that is frozen or cut off is replaced, and a healthy one never is."""

import asyncio
import signal
from collections.abc import Callable

import pytest

from deploy.dev.servers import ValkeyServer
from tests.support.changes import assert_flows, change, is_reset
from tests.support.processes import Part, eventually
from tests.support.world import World


def send(part: Part, number: signal.Signals) -> None:
    assert part.process is not None
    part.process.send_signal(number)


async def generation(world: World) -> object:
    async with world.redis() as redis:
        return await redis.hget(f"{world.prefix}neverstale:state", "generation")


def roles(part: Part) -> list[str]:
    return [line["role"] for line in part.lines if line["message"] == "role"]


async def test_a_frozen_leader_is_replaced_and_comes_back_as_a_standby(world: World) -> None:
    frozen = await world.listener()
    standby = await world.listener(role="standby")
    gateway = await world.gateway()
    async with world.client(gateway, world.apollo, world.ada) as client:
        await change(world)
        await client.next()
        before = await generation(world)
        send(frozen, signal.SIGSTOP)
        try:
            await change(world, "while it is frozen")
            assert not is_reset(await client.next()), "the log proves it: no reset was needed"
        finally:
            send(frozen, signal.SIGCONT)
        said = "the leader sends no heartbeat"
        await eventually(lambda: standby.logged(said, ended=True), "the standby said why")
        await frozen.ready(world.http, role="standby")
        await assert_flows(world, client)
        assert await generation(world) == before
        assert roles(frozen) == ["standby", "leader", "connecting", "standby"]
        assert roles(standby) == ["standby", "leader"]


@pytest.mark.parametrize(
    ("stop", "start"),
    [
        (ValkeyServer.freeze, ValkeyServer.thaw),
        (ValkeyServer.kill, ValkeyServer.start),
    ],
    ids=["frozen", "killed"],
)
async def test_an_outage_of_redis_ends_no_leader(
    own_world: World,
    stop: Callable[[ValkeyServer], None],
    start: Callable[[ValkeyServer], None],
) -> None:
    world = own_world
    leader = await world.listener()
    standby = await world.listener(role="standby")
    gateway = await world.gateway()
    async with world.client(gateway, world.apollo, world.ada) as client:
        stop(world.servers.valkey)
        await eventually(lambda: leader.logged("redis lost"), "the leader noticed")
        await asyncio.sleep(6.5)  # longer than a standby waits for a sign
        start(world.servers.valkey)
        await assert_flows(world, client)
        await asyncio.sleep(7)  # ... and as long again, now that the standby sees the signs
        await assert_flows(world, client)
    assert (roles(leader), roles(standby)) == (["standby", "leader"], ["standby"])
    assert not standby.logged("the leader sends no heartbeat")


async def test_a_leader_that_may_not_write_to_redis_is_not_to_blame(own_world: World) -> None:
    """Nobody may: a Redis that refuses writes is an outage like any other."""
    world = own_world
    leader = await world.listener()
    standby = await world.listener(role="standby")
    async with world.redis() as redis:
        await redis.config_set("min-replicas-to-write", 1)
        await eventually(lambda: leader.logged("redis lost"), "the leader noticed")
        await asyncio.sleep(7)
        await redis.config_set("min-replicas-to-write", 0)
    await leader.ready(world.http, role="leader")
    assert (roles(leader), roles(standby)) == (["standby", "leader"], ["standby"])

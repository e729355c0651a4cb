"""A Redis primary behind sentinels: a failover is what it is with any address that moves."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from deploy.dev.servers import ValkeyServer
from shared.links.redis_link import RedisLost
from shared.links.redis_sentinel import sentinel_locate
from shared.links.redis_url import parse_redis_url
from tests.support.changes import assert_flows, insert_tasks, is_reset
from tests.support.inspection import resets
from tests.support.processes import HANG_SECONDS
from tests.support.redis_pair import command
from tests.support.redis_sentinel import Sentinel
from tests.support.world import World


async def _until(server: ValkeyServer, words: tuple[str, ...], wanted: str) -> None:
    async with asyncio.timeout(HANG_SECONDS):
        while wanted not in str(await command(server, *words)):
            await asyncio.sleep(0.05)


@pytest.fixture
async def sentinel(own_world: World) -> AsyncIterator[Sentinel]:
    primary = own_world.servers.valkey
    replica = ValkeyServer(primary.folder.with_name("valkey2"))
    made = Sentinel(primary.folder.with_name("sentinel"), primary)
    started = []
    try:
        await command(primary, "CONFIG", "SET", "repl-diskless-sync-delay", 0)
        for server in (replica, made):
            await asyncio.to_thread(server.start)
            started.append(server)
        await command(replica, "REPLICAOF", "127.0.0.1", primary.port)
        await _until(replica, ("INFO", "replication"), "'master_link_status': 'up'")
        await command(made, "SENTINEL", "DEBUG", "INFO-PERIOD", 100)
        await _until(made, ("SENTINEL", "REPLICAS", "main"), str(replica.port))
        own_world.more["REDIS_URL"] = (
            f"redis+sentinel://127.0.0.1:1,127.0.0.1:{made.port}/main"  # the first is down
        )
        yield made
    finally:
        for server in started:
            server.kill()


@pytest.mark.parametrize("fate", ["killed", "frozen"])
@pytest.mark.usefixtures("sentinel")
async def test_a_failover_behind_sentinels_resets_everybody_once(
    own_world: World, fate: str
) -> None:
    world, primary = own_world, own_world.servers.valkey
    leader = await world.listener()
    gateway = await world.gateway()
    async with world.client(gateway, world.apollo, world.ada, v1=True) as client:
        await assert_flows(world, client)
        primary.kill() if fate == "killed" else primary.freeze()
        await insert_tasks(world, 3)
        await client.until(is_reset)
        await assert_flows(world, client)
    assert resets(leader) == 2  # when it began, and after the failover
    primary.thaw()


async def test_a_name_that_no_sentinel_knows_is_a_lost_redis(sentinel: Sentinel) -> None:
    locate = sentinel_locate(parse_redis_url(f"redis+sentinel://127.0.0.1:{sentinel.port}/odd"))
    assert locate is not None
    with pytest.raises(RedisLost, match="it watches no primary of that name"):
        await locate()

"""A real cluster of three primaries with a replica each."""

from collections.abc import AsyncIterator

import pytest

from tests.support.changes import assert_flows, change
from tests.support.redis_cluster import RedisCluster, redis_cluster
from tests.support.world import World


@pytest.fixture
async def cluster(own_world: World) -> AsyncIterator[RedisCluster]:
    async with redis_cluster() as made:
        own_world.more |= {"REDIS_URL": made.url, "REDIS_CLUSTER": "true"}
        yield made


async def test_flow(own_world: World, cluster: RedisCluster) -> None:
    world = own_world
    await world.listener()
    gateway = await world.gateway()
    async with (
        world.client(gateway, world.apollo, world.ada) as plain,
        world.client(gateway, world.apollo, world.ada, v1=True) as v1,
    ):
        for client in (plain, v1):
            await assert_flows(world, client)
        await change(world)

"""Three primaries of a Redis Cluster. Failovers and more are in ``tests/cluster``."""

from functools import partial

from tests.support.follower import following
from tests.support.placed import Placement
from tests.support.processes import Part, eventually
from tests.support.redis_cluster import redis_cluster
from tests.support.world import World


async def test_a_moved_slot_resets_its_clients_and_no_others(world: World) -> None:
    async with redis_cluster(replicas=False) as cluster:
        world.more |= {"REDIS_URL": cluster.url, "REDIS_CLUSTER": "true"}
        placement = Placement(world, cluster)
        await world.listener()
        gateway = await world.gateway()
        source, target = await placement.other_nodes()
        moved, other = await placement.on(source), await placement.on(target)
        async with (
            following(world, gateway, placement, moved) as v1,
            following(world, gateway, placement, other) as untouched,
        ):
            for follower in (v1, untouched):
                await follower.flows()
            await cluster.move(sorted(moved.slots), target)
            for follower in (v1, untouched):
                await follower.change()
                await follower.consistent()
                await follower.flows()
            assert v1.resets
            assert not untouched.resets


async def test_without_the_setting_a_node_of_a_cluster_is_refused(world: World) -> None:
    async with redis_cluster(primaries=1, replicas=False) as cluster:
        world.more["REDIS_URL"] = cluster.url
        for part in (await world.listener(role=None), await world.gateway(ready=False)):
            await part.ready(world.http, status=503, redis=False)
            await eventually(partial(_is_told, part), "the log says what to do")


def _is_told(part: Part) -> bool:
    advice = "this server is a node of a cluster: set REDIS_CLUSTER=true"
    return part.logged("redis lost", reason=advice)

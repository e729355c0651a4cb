"""A cluster of three primaries with a replica each: only affected clients are reset."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest

from tests.support.follower import Follower, following
from tests.support.inspection import resets
from tests.support.placed import Placement
from tests.support.processes import Part, eventually
from tests.support.redis_cluster import ClusterNode, RedisCluster, redis_cluster
from tests.support.servers import start_again
from tests.support.world import World


@dataclass
class Stage:
    """A stack on a cluster, with a follower of a client on each node."""

    world: World
    cluster: RedisCluster
    placement: Placement
    leader: Part
    gateway: Part
    followers: dict[ClusterNode, Follower]

    async def check(self, *affected: ClusterNode) -> None:
        """All are consistent again and get events; only those on *affected* nodes were reset.

        Nothing else was: there is no new generation.
        """
        for follower in self.followers.values():
            await follower.consistent()
            await follower.flows()
        reset = {node for node, follower in self.followers.items() if follower.resets}
        assert reset == set(affected)
        assert resets(self.leader) == 1  # when it began

    async def change_all(self) -> None:
        for follower in self.followers.values():
            await follower.change()


@pytest.fixture
async def stage(own_world: World) -> AsyncIterator[Stage]:
    world = own_world
    async with redis_cluster() as cluster, AsyncExitStack() as stack:
        world.more |= {"REDIS_URL": cluster.url, "REDIS_CLUSTER": "true"}
        placement = Placement(world, cluster)
        leader = await world.listener()
        gateway = await world.gateway()
        followers = {
            node: await stack.enter_async_context(
                following(world, gateway, placement, await placement.on(node))
            )
            for node in cluster.primaries
        }
        made = Stage(world, cluster, placement, leader, gateway, followers)
        for follower in followers.values():
            await follower.flows()
        yield made


async def test_without_faults_all_get_all_events(stage: Stage) -> None:
    await stage.change_all()
    await stage.check()
    code, output, _ = await stage.world.command("neverstale", "status", "--json")
    assert code == 0
    status = json.loads(output)
    assert (len(status["listeners"]), len(status["gateways"])) == (1, 1)


@pytest.mark.parametrize("serves_state", [False, True], ids=["of events", "of the state"])
async def test_a_failover_with_lost_writes_resets_the_clients_of_its_slots(
    stage: Stage, *, serves_state: bool
) -> None:
    placement = stage.placement
    others = await placement.other_nodes()
    primary = await placement.state_node() if serves_state else others[0]
    replica = stage.cluster.replica_of(primary)
    replica.freeze()
    await stage.change_all()
    for follower in stage.followers.values():
        await follower.consistent()
    primary.kill()
    replica.thaw()
    await stage.change_all()
    await stage.check(primary)


async def test_a_frozen_primary_that_wakes_up_has_been_replaced(stage: Stage) -> None:
    primary = (await stage.placement.other_nodes())[0]
    slot = next(iter(stage.followers[primary].placed.slots))
    primary.freeze()
    await stage.change_all()
    others = [node for node in stage.followers if node is not primary]
    for node in others:
        await stage.followers[node].consistent()
    await stage.cluster.owner(slot, unless=primary)
    primary.thaw()
    await stage.change_all()
    await stage.check(primary)


async def test_clients_of_a_node_that_stays_away_are_not_live(stage: Stage) -> None:
    primary = (await stage.placement.other_nodes())[0]
    replica = stage.cluster.replica_of(primary)
    follower = stage.followers[primary]
    for node in (primary, replica):
        node.kill()
    await stage.change_all()
    await eventually(lambda: follower.status is False, "the client is not live")
    for other in stage.followers.values():
        if other is not follower:
            await other.consistent()
            assert other.status is not False
    for node in (primary, replica):
        await start_again(node)
    await eventually(lambda: follower.status is True, "the client is live again")
    await stage.check(primary)


async def test_moved_slots_reset_their_clients(stage: Stage) -> None:
    source, target = await stage.placement.other_nodes()
    follower = stage.followers[source]

    async def write() -> None:
        while True:
            await stage.change_all()
            await asyncio.sleep(0.02)

    writing = asyncio.create_task(write())
    try:
        await stage.cluster.move(sorted(follower.placed.slots), target)
    finally:
        writing.cancel()
    await stage.check(source)


async def test_resharding_to_a_fourth_primary_resets_the_clients_of_its_slots(
    stage: Stage,
) -> None:
    [source, _] = await stage.placement.other_nodes()
    target = await stage.cluster.add_primary()
    moved = stage.followers[source].placed.slots
    more = sorted(await stage.cluster.slots_of(source) - moved)[:40]
    await stage.change_all()
    await stage.cluster.move(sorted({*moved, *more}), target)
    await stage.change_all()
    await stage.check(source)


async def test_a_cluster_that_restarts_empty_resets_everybody_once(stage: Stage) -> None:
    await stage.change_all()
    for node in stage.cluster.nodes:
        node.kill()
    await stage.change_all()
    await asyncio.gather(*(start_again(node) for node in stage.cluster.nodes))
    for follower in stage.followers.values():
        await follower.consistent()
        await follower.flows()
        assert follower.resets

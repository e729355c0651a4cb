"""A Redis that is not, or no longer, the one to use: it is left, and `/readyz` tells."""

from tests.support.changes import assert_flows, change, insert_tasks, is_reset
from tests.support.inspection import resets
from tests.support.processes import eventually
from tests.support.redis_pair import redis_pair
from tests.support.world import World, make_world


async def test_a_primary_that_was_demoted_is_left_and_readiness_tells_the_truth(
    own_world: World,
) -> None:
    """A name, virtual IP or proxy leads to another server; the old connections stay open."""
    world = own_world
    async with redis_pair(world) as pair:
        leader = await world.listener()
        standby = await world.listener(role="standby")
        gateway = await world.gateway()
        async with world.client(gateway, world.apollo, world.ada) as client:
            await change(world)
            await client.next()
            before = resets(leader)
            await pair.promote()
            await pair.follow()  # the old primary, to which the address still leads
            await leader.ready(world.http, status=503, role="leader", redis=False)
            await standby.ready(world.http, status=503, role="standby", redis=False)
            await gateway.ready(world.http, status=503, redis=False)
            await insert_tasks(world, 3)
            pair.move_address()
            await client.until(is_reset)
            await assert_flows(world, client)
        await leader.ready(world.http, role="leader", redis=True)
        await standby.ready(world.http, role="standby", redis=True)
        await gateway.ready(world.http, redis=True)
        assert resets(leader) == before + 1
        assert not standby.logged("the leader sends no heartbeat")


async def test_a_state_that_was_evicted_is_told_as_that(world: World) -> None:
    listener = await world.listener()
    gateway = await world.gateway()
    async with world.client(gateway, world.apollo, world.ada) as client:
        async with world.redis() as redis:
            await redis.delete(f"{world.prefix}neverstale:state")
        await client.until(is_reset)
        await assert_flows(world, client)
    said = "the stored state is gone: it was evicted or deleted"
    assert listener.logged("redis lost", reason=said)


async def test_of_two_databases_on_one_prefix_the_first_stays(world: World) -> None:
    """They would reset each other's clients each second, and mix up their projects."""
    leader = await world.listener()
    gateway = await world.gateway()
    before = resets(leader)
    async with make_world(world.servers) as other:
        other.prefix = world.prefix
        second = await other.listener(role=None)
        its_gateway = await other.gateway(ready=False)
        await second.ready(other.http, status=503, role="leader", prefix_taken=True)
        said = "the listener of another database uses this REDIS_PREFIX: set another one"
        await eventually(
            lambda: its_gateway.logged("redis lost", reason=said), "the gateway says why"
        )
        await its_gateway.ready(other.http, status=503, redis=False)
        async with world.client(gateway, world.apollo, world.ada) as client:
            await assert_flows(world, client)
        assert resets(leader) == before
        assert resets(second) == 0

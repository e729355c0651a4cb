"""Which database owns a Redis prefix, when databases are replaced."""

from tests.support.changes import assert_flows
from tests.support.world import World, make_world


async def test_the_prefix_of_a_database_without_listeners_is_free(world: World) -> None:
    """Another database (a restored or upgraded one, for example) takes it permanently."""
    first = [await world.listener(), await world.listener(role="standby")]
    async with make_world(world.servers) as other:
        other.prefix = world.prefix
        second = await other.listener(role=None)
        await second.ready(other.http, status=503, role="leader", prefix_taken=True)
        third = await other.listener(role=None)
        gateway = await other.gateway(ready=False)
        await first[0].end()
        await first[1].ready(world.http, role="leader")  # as long as it has listeners
        await first[1].end()
        await second.ready(other.http, role="leader", prefix_taken=False)
        await gateway.ready(other.http)
        async with other.client(gateway, other.apollo, other.ada) as client:
            await assert_flows(other, client)
        late = await world.listener(role=None)
        await late.ready(world.http, status=503, role="leader", prefix_taken=True)
        assert not third.logged("the leader sends no heartbeat")

"""A Redis replica is promoted that lacks the last acknowledged writes."""

import json
from collections.abc import Awaitable, Callable
from typing import Final

from deploy.dev.servers import ValkeyServer, free_port
from tests.support.changes import (
    assert_consistent_after,
    assert_flows,
    change,
    insert_tasks,
    is_reset,
)
from tests.support.inspection import resets
from tests.support.processes import WS_PATH, Client, Part, token
from tests.support.redis_pair import RedisPair, command, redis_pair
from tests.support.world import World

RIGHTS: Final = ("-evalsha", "-hset")


async def follow(pair: RedisPair) -> None:
    await pair.follow()


async def lose_its_primary(pair: RedisPair) -> None:
    """It answers all reads with MASTERDOWN."""
    await command(pair.replica, "CONFIG", "SET", "replica-serve-stale-data", "no")
    await command(pair.replica, "REPLICAOF", "127.0.0.1", free_port())


async def stay(_pair: RedisPair) -> None:
    """It is isolated: it accepts writes that no other server gets."""


async def want_replicas(pair: RedisPair) -> None:
    await command(pair.replica, "CONFIG", "SET", "min-replicas-to-write", 1)


async def withdraw_rights(pair: RedisPair) -> None:
    await command(pair.replica, "ACL", "SETUSER", "default", *RIGHTS)


async def mend(pair: RedisPair) -> None:
    old = pair.replica
    await command(old, "ACL", "SETUSER", "default", "+@all")
    await command(old, "CONFIG", "SET", "min-replicas-to-write", 0)
    await command(old, "CONFIG", "SET", "replica-serve-stale-data", "yes")
    await pair.follow()


FATES: Final[dict[str, Callable[[RedisPair], Awaitable[None]]]] = {
    "a replica of the new primary": follow,
    "a replica without a primary": lose_its_primary,
    "a primary still": stay,
    "a primary that wants replicas": want_replicas,
    "a primary that allows little": withdraw_rights,
}


async def test_the_old_primary_is_no_longer_used_whatever_its_state(own_world: World) -> None:
    """Its connections stay open, and each new primary lacks the last writes."""
    world = own_world
    async with redis_pair(world) as pair:
        leader, standby = await world.listener(), await world.listener(role="standby")
        gateway = await world.gateway()
        async with (
            world.client(gateway, world.apollo, world.ada) as plain,
            world.client(gateway, world.apollo, world.ada, v1=True) as v1,
        ):
            for fate, befall in FATES.items():
                before = resets(leader)
                pair.replication.swallow()
                lost = await insert_tasks(world, 3)
                for client in (plain, v1):
                    await assert_consistent_after(client, lost)
                await pair.promote()
                pair.move_address()
                await befall(pair)
                await insert_tasks(world, 3)
                for client in (plain, v1):
                    await client.until(is_reset)
                await ready(world, leader, standby, gateway)
                for client in (plain, v1):
                    await assert_flows(world, client)
                assert resets(leader) == before + 1, fate
                await mend(pair)
        assert not standby.logged("the leader sends no heartbeat")


async def ready(world: World, leader: Part, standby: Part, gateway: Part) -> None:
    await leader.ready(world.http, role="leader", redis=True)
    await standby.ready(world.http, role="standby", redis=True)
    await gateway.ready(world.http, redis=True)


async def test_a_cursor_that_the_new_primary_never_had_is_a_reset(own_world: World) -> None:
    """The primary dies; an offline client returns with a cursor from lost writes."""
    world = own_world
    async with redis_pair(world) as pair:
        await world.listener()
        gateway = await world.gateway()
        pair.replication.swallow()
        async with world.client(gateway, world.apollo, world.ada, v1=True) as client:
            await change(world)
            cursor = (await client.next())["cursor"]
        dead: ValkeyServer = pair.primary
        dead.kill()
        await pair.promote()
        pair.move_address()
        await gateway.ready(world.http)
        async with world.client(gateway, world.apollo, world.ada) as client:
            await assert_flows(world, client)
        async with world.http.ws_connect(
            f"{gateway.url}{WS_PATH}?project_id={world.apollo}&since={cursor}",
            protocols=("neverstale.v1", f"bearer.{token(world.ada)}"),
        ) as socket:
            greeting = await Client(socket).next()
            assert greeting["resumed"] == [], json.dumps(greeting)
        dead.start()

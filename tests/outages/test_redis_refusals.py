"""A Redis that refuses writes: full, evicting, or with other rights or passwords."""

import asyncio
from typing import Any, Final

from tests.support.background import background
from tests.support.changes import (
    assert_consistent_after,
    assert_flows,
    change,
    insert_tasks,
    is_reset,
)
from tests.support.documented import PASSWORD, documented_rights
from tests.support.processes import HANG_SECONDS
from tests.support.redis_pair import command
from tests.support.world import World

USER: Final = "neverstale"
OTHER_PASSWORD: Final = "y" * 40
# what is withdrawn, and what restores it; connections that would keep it are cut
WITHDRAWN: Final = {
    "a command": (("-evalsha",), ("+evalsha",), False),
    "a command of a script": (("-zadd",), ("+zadd",), False),
    "the channels": (("resetchannels",), ("&*",), False),
    "the keys": (("resetkeys",), ("~*",), False),
    "the user": (("off",), ("on",), True),
    "the password": (("resetpass", f">{OTHER_PASSWORD}"), (f">{PASSWORD}",), True),
}
POLICIES: Final = (
    "noeviction",
    "allkeys-lru",
    "allkeys-lfu",
    "allkeys-random",
    "volatile-lru",
    "volatile-lfu",
    "volatile-random",
    "volatile-ttl",
)
_FILLER: Final = "f" * 10_000


async def test_rights_and_passwords_may_go_and_come_back(own_world: World) -> None:
    """Nothing is lost, no restart is needed, and readiness reports it meanwhile."""
    world, valkey = own_world, own_world.servers.valkey
    await command(valkey, "ACL", "SETUSER", USER, "on", f">{PASSWORD}", *documented_rights())
    world.more["REDIS_URL"] = valkey.url.replace("redis://", f"redis://{USER}:{PASSWORD}@")
    listener = await world.listener()
    gateway = await world.gateway()
    async with world.client(gateway, world.apollo, world.ada) as client:
        for what, (withdraw, give_back, cuts) in WITHDRAWN.items():
            await command(valkey, "ACL", "SETUSER", USER, *withdraw)
            if cuts:
                await command(valkey, "CLIENT", "KILL", "USER", USER)
            changed = await insert_tasks(world, 3)
            await listener.ready(world.http, status=503, role="leader", redis=False)
            if cuts or what == "the channels":  # else its first new client would notice
                await gateway.ready(world.http, status=503, redis=False)
            await command(valkey, "ACL", "SETUSER", USER, *give_back)
            await assert_consistent_after(client, changed)
            await listener.ready(world.http, redis=True)
            await gateway.ready(world.http, redis=True)
            await assert_flows(world, client)
    assert not listener.logged("changes cannot be published one by one")
    for part in (listener, gateway):
        assert PASSWORD not in "".join(part.raw_lines)


async def test_a_password_is_changed_with_a_second_one(own_world: World) -> None:
    """Redis accepts both for a while: each process uses the new one after its restart."""
    world, valkey = own_world, own_world.servers.valkey
    await command(valkey, "ACL", "SETUSER", USER, "on", f">{PASSWORD}", *documented_rights())
    url = valkey.url.replace("redis://", f"redis://{USER}:{{}}@")
    old = await world.listener(REDIS_URL=url.format(PASSWORD))
    gateway = await world.gateway(REDIS_URL=url.format(PASSWORD))
    async with world.client(gateway, world.apollo, world.ada) as client:
        await command(valkey, "ACL", "SETUSER", USER, f">{OTHER_PASSWORD}")
        new = await world.listener(role="standby", REDIS_URL=url.format(OTHER_PASSWORD))
        await old.end()
        await new.ready(world.http, role="leader")
        await command(valkey, "ACL", "SETUSER", USER, f"<{PASSWORD}")
        await change(world)
        assert not is_reset(await client.next()), "connections outlive the old password"


async def test_a_full_redis_costs_only_precision(own_world: World) -> None:
    """Whatever it evicts or refuses, by any policy: each change is an event or a reset."""
    world, valkey = own_world, own_world.servers.valkey
    await world.listener()
    gateway = await world.gateway()
    async with (
        world.client(gateway, world.apollo, world.ada) as plain,
        world.client(gateway, world.apollo, world.ada, v1=True) as v1,
    ):
        for policy in POLICIES:
            before = await info(world)
            limit = int(before["used_memory"]) + 1_000_000
            await command(valkey, "CONFIG", "SET", "maxmemory-policy", policy)
            await command(valkey, "CONFIG", "SET", "maxmemory", limit)
            changed = set()
            async with background() as tasks:
                tasks.create_task(fill(world))
                async with asyncio.timeout(HANG_SECONDS):
                    while not await is_full(world, before, limit):
                        changed |= await insert_tasks(world, 1)
                        await asyncio.sleep(0.05)
                changed |= await insert_tasks(world, 5)
            await command(valkey, "CONFIG", "SET", "maxmemory", 0)
            for client in (plain, v1):
                await assert_consistent_after(client, changed)
            await gateway.ready(world.http)
            for client in (plain, v1):
                await assert_flows(world, client)


async def info(world: World) -> dict[str, Any]:
    async with world.redis() as redis:
        found: dict[str, Any] = await redis.info()
        return found


async def is_full(world: World, before: dict[str, Any], limit: int) -> bool:
    """Whether it evicts, or has no memory left."""
    now = await info(world)
    evicts: bool = now["evicted_keys"] > before["evicted_keys"] + 20
    return evicts or (now["maxmemory_policy"] == "noeviction" and now["used_memory"] > limit)


async def fill(world: World) -> None:
    """Write foreign keys, half of which expire. Never returns."""
    async with world.redis() as redis:
        for number in range(1_000_000):
            async with redis.pipeline(transaction=False) as pipeline:
                for one in range(10):
                    key = f"other:{number}:{one}"
                    pipeline.set(key, _FILLER, ex=3600 if one % 2 else None)  # type: ignore[unused-awaitable]
                await pipeline.execute(raise_on_error=False)
            await asyncio.sleep(0.005)

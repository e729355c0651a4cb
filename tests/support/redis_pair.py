"""A primary of Redis and its replica behind one address, as failovers leave them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import redis.asyncio

from deploy.dev.servers import ValkeyServer
from tests.support.processes import HANG_SECONDS
from tests.support.tcp_proxy import Proxy
from tests.support.world import World


async def command(server: ValkeyServer, *words: str | int) -> Any:
    async with redis.asyncio.Redis.from_url(server.url, decode_responses=True) as client:
        return await client.execute_command(*words)  # type: ignore[no-untyped-call]


class RedisPair:
    """New connections to the address lead to where it points; older ones stay."""

    def __init__(self, primary: ValkeyServer, replica: ValkeyServer) -> None:
        self.primary = primary
        self.replica = replica
        self.address = Proxy(primary.port)
        self.replication = Proxy(primary.port)

    async def start(self) -> None:
        await self.address.start()
        await self.replication.start()
        for server in (self.primary, self.replica):
            await command(server, "CONFIG", "SET", "repl-diskless-sync-delay", 0)
        await self.follow()

    async def follow(self) -> None:
        """Have the replica follow the primary; returns once it has all that this has."""
        self.replication.heal()
        self.replication.target_ports = [self.primary.port]
        self.replication.cut()
        await command(self.replica, "REPLICAOF", "127.0.0.1", self.replication.port)
        async with asyncio.timeout(HANG_SECONDS):
            while (await command(self.replica, "ROLE"))[3] != "connected":
                await asyncio.sleep(0.02)

    async def promote(self) -> None:
        """Make the replica a primary; nothing of the other changes, nor where the address
        leads.
        """
        await command(self.replica, "REPLICAOF", "NO", "ONE")
        self.primary, self.replica = self.replica, self.primary

    def move_address(self) -> None:
        """New connections lead to the primary."""
        self.address.target_ports = [self.primary.port]


@asynccontextmanager
async def redis_pair(world: World) -> AsyncIterator[RedisPair]:
    """The world's parts, started from now on, use this pair."""
    first = world.servers.valkey
    second = ValkeyServer(first.folder.with_name("valkey2"))
    await asyncio.to_thread(second.start)
    try:
        pair = RedisPair(first, second)
        try:
            await pair.start()
            world.more["REDIS_URL"] = f"redis://127.0.0.1:{pair.address.port}"
            yield pair
        finally:
            await pair.address.close()
            await pair.replication.close()
    finally:
        second.kill()

"""A Redis primary and its replica behind one address that can be moved, as in a failover."""

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
    """Two servers behind one address. Moving it affects new connections only."""

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
        """Make the replica follow the primary, and return once it is in sync."""
        self.replication.heal()
        self.replication.target_ports = [self.primary.port]
        self.replication.cut()
        await command(self.replica, "REPLICAOF", "127.0.0.1", self.replication.port)
        async with asyncio.timeout(HANG_SECONDS):
            while (await command(self.replica, "ROLE"))[3] != "connected":
                await asyncio.sleep(0.02)

    async def promote(self) -> None:
        """Make the replica a primary. Neither the other server nor the address changes."""
        await command(self.replica, "REPLICAOF", "NO", "ONE")
        self.primary, self.replica = self.replica, self.primary

    def move_address(self) -> None:
        """Direct new connections to the current primary."""
        self.address.target_ports = [self.primary.port]


@asynccontextmanager
async def redis_pair(world: World) -> AsyncIterator[RedisPair]:
    """Yield a pair that all parts of the world use which are started from now on."""
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

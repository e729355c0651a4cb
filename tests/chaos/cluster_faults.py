"""Faults of a Redis Cluster: each lasts a while and is then repaired."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from redis.exceptions import RedisError

from shared.protocol.slots import slot_of
from tests.chaos.server_faults import ANSWER_SECONDS
from tests.support.redis_cluster import ClusterNode, RedisCluster
from tests.support.redis_pair import command
from tests.support.servers import start_again

_MOVED_SLOTS: Final = 3
_SETTLE_SECONDS: Final = 30.0


class ClusterFault:
    """A primary dies, freezes, fails over, loses writes or runs full; slots are moved."""

    def __init__(self, cluster: RedisCluster, random_: random.Random) -> None:
        self._cluster = cluster
        self._random = random_

    def of(self, kind: str) -> Callable[[float], Awaitable[None]]:
        action = {
            "redis kill a primary": self.kill,
            "redis freeze a primary": self.freeze,
            "redis lose writes": self.lose_writes,
            "redis fail over": self.fail_over,
            "redis take over": self.take_over,
            "redis move slots": self.move_slots,
            "redis leave a move open": self.leave_a_move_open,
            "redis fill a primary": self.fill,
            "redis evict logs": self.evict_logs,
            "redis evict state": self.evict_state,
        }[kind]

        async def act(seconds: float) -> None:
            await action(seconds)
            async with asyncio.timeout(_SETTLE_SECONDS):
                await self._cluster.settled()

        return act

    async def kill(self, seconds: float) -> None:
        """Kill a primary. Restarted before its replica is promoted, it has lost everything."""
        node = await self._primary()
        node.kill()
        await asyncio.sleep(seconds)
        await start_again(node)

    async def freeze(self, seconds: float) -> None:
        node = await self._primary()
        node.freeze()
        await asyncio.sleep(seconds)
        node.thaw()

    async def lose_writes(self, seconds: float) -> None:
        """Kill a primary whose replica lacks its last writes."""
        node = await self._primary()
        replicas = await self._cluster.replicas_of(node)
        for replica in replicas:
            replica.freeze()
        await asyncio.sleep(min(seconds, 0.5))  # less than makes the cluster give it up
        node.kill()
        for replica in replicas:
            replica.thaw()
        await asyncio.sleep(seconds)
        await start_again(node)

    async def fail_over(self, seconds: float) -> None:
        await self._promote()

    async def take_over(self, seconds: float) -> None:
        """Promote a replica without asking its primary, which takes writes for a while."""
        await self._promote("TAKEOVER")

    async def _promote(self, *how: str) -> None:
        for replica in await self._cluster.replicas_of(await self._primary()):
            with suppress(RedisError, OSError, TimeoutError):
                async with asyncio.timeout(ANSWER_SECONDS):
                    await command(replica, "CLUSTER", "FAILOVER", *how)

    async def move_slots(self, seconds: float) -> None:
        """Move slots that have channel logs to another primary."""
        target, slots = await self._choose_move()
        await self._cluster.move(slots, target)

    async def leave_a_move_open(self, seconds: float) -> None:
        """Move the logs of a slot, and finish the move later."""
        target, slots = await self._choose_move()
        if slots:
            await self._cluster.move(slots[:1], target, pause_seconds=seconds)

    async def _choose_move(self) -> tuple[ClusterNode, list[int]]:
        source, target = self._random.sample(await self._cluster.current_primaries(), 2)
        keys = sorted(await command(source, "KEYS", "*:log"))
        self._random.shuffle(keys)
        slots = dict.fromkeys(slot_of(key) for key in keys)
        return target, [*slots][:_MOVED_SLOTS]

    async def fill(self, seconds: float) -> None:
        node = await self._primary()
        await command(node, "CONFIG", "SET", "maxmemory-policy", "noeviction")
        await command(node, "CONFIG", "SET", "maxmemory", "1")
        await asyncio.sleep(seconds)
        await command(node, "CONFIG", "SET", "maxmemory", "0")

    async def evict_logs(self, seconds: float) -> None:
        """Delete some of a primary's channel logs, as an eviction might."""
        node = await self._primary()
        for key in sorted(await command(node, "KEYS", "*:log")):
            if self._random.random() < 0.5:
                await command(node, "DEL", key)

    async def evict_state(self, seconds: float) -> None:
        key = "neverstale:state"
        await command(await self._cluster.owner(slot_of(key)), "DEL", key)

    async def _primary(self) -> ClusterNode:
        return self._random.choice(await self._cluster.current_primaries())

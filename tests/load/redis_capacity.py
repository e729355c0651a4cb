"""``make bench-redis``: what one Redis holds, and a cluster of three primaries.

The CPU time of a server is that of its process: its commands run on one core, so the inverse is
the most messages a second. In the cluster it is that of the busiest primary. Gateways are
connections that subscribe to all channels, as if each had a client in every project, and read
whatever comes. The publisher's time is that of this process, with the gateways' reading in it.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import uvloop

from deploy.dev.servers import ValkeyServer
from gateway.delivery.pubsub import PubSub
from listener.leader.cluster_publisher import ClusterPublisher
from listener.leader.leader_state import LeaderState, SnapshotCursor
from listener.leader.publication import Publication, PublicationRules
from listener.leader.publisher import Publisher
from shared.config.access_rules import AccessRules
from shared.links.redis_access import RedisAccess, open_redis
from shared.protocol.channels import Channel
from shared.protocol.events import Event, publishable_event
from shared.protocol.slots import slot_of
from tests.support.machine import own_cpu_seconds, resident_kib
from tests.support.redis_cluster import redis_cluster

GATEWAYS: Final = (0, 1, 2, 4, 8, 16)
PER_CALL: Final = (1, 10)
PER_BATCH: Final = 500
HANG_SECONDS: Final = 300.0
_NOW: Final = datetime.now(UTC)
_STATE: Final = LeaderState("g1", SnapshotCursor("", ""), "", "gap")
_RULES: Final = PublicationRules(AccessRules("text", "text", "", ""), frozenset(), 1000)


@dataclass(frozen=True)
class Size:
    """Channels, and messages in each measurement."""

    channels: int
    messages: int


@dataclass(frozen=True)
class Cost:
    """Microseconds of CPU time per message: of the busiest server, and of this process."""

    server_us: float
    own_us: float


class Redis:
    """A server, a leader's publisher, and gateways' subscriptions."""

    def __init__(self, servers: Sequence[ValkeyServer], redis: RedisAccess, size: Size) -> None:
        self._servers = servers
        self._redis = redis
        self._size = size
        make = partial(ClusterPublisher, nodes=redis.nodes) if redis.nodes else Publisher
        self._publisher = make(redis, rules=_RULES, leader="bench", ttl_seconds=3600)
        self._channels = [Channel("project", f"p{number}") for number in range(size.channels)]
        self._links: list[list[PubSub]] = []
        self._received = 0
        self._acknowledged = 0
        self._published = 0
        self._kib = 0

    async def prepare(self) -> None:
        await self._publisher.adopt()
        await self._publisher.reset(_STATE)
        await self._publish(self._size.channels, 1)
        self._kib = sum(map(resident_kib, self._pids))

    @property
    def _pids(self) -> list[int]:
        return [server.process.pid for server in self._servers if server.process]

    def _cpu_seconds(self) -> list[float]:
        return [own_cpu_seconds(pid) for pid in self._pids]

    async def subscribe(self, gateways: int) -> None:
        """Have so many gateways subscribed."""
        for _ in range(gateways - len(self._links)):
            self._links.append(await self._link())
        await self._until(lambda: self._acknowledged, gateways * len(self._channels))

    async def _link(self) -> list[PubSub]:
        """Connect one gateway, in a cluster to each node."""
        names = [self._redis.names.channel(channel) for channel in self._channels]
        if self._redis.nodes is None:
            link = await PubSub.connect(self._redis.target, self._count, self._acknowledge)
            link.subscribe(names)
            return [link]
        links = []
        for first, last, host, port, _ in await self._redis.nodes.survey():
            target = self._redis.target.at(host, port)
            link = await PubSub.connect(target, self._count, self._acknowledge, _fail)
            link.subscribe([name for name in names if first <= slot_of(name) <= last])
            links.append(link)
        return links

    def kib_per_subscription(self) -> float:
        """Return what the servers' memory has grown by since before the first."""
        return (sum(map(resident_kib, self._pids)) - self._kib) / self._acknowledged

    async def measure(self, per_call: int) -> Cost:
        """Publish, so many events to a channel in one call, and return what each cost."""
        await self._publish(PER_BATCH * per_call, per_call)  # once per size, unmeasured
        started, own_started, first = self._cpu_seconds(), time.process_time(), self._published
        while self._published - first < self._size.messages:
            await self._publish(PER_BATCH * per_call, per_call)
        used = max(b - a for a, b in zip(started, self._cpu_seconds(), strict=True))
        messages = self._published - first
        own_used = time.process_time() - own_started
        return Cost(1e6 * used / messages, 1e6 * own_used / messages)

    async def _publish(self, count: int, per_call: int) -> None:
        """Publish *count* events, so many to a channel in one call, and wait for them."""
        publication = Publication({}, [], {})
        for number in range(self._published, self._published + count):
            channel = self._channels[number // per_call % len(self._channels)]
            event = Event("task", f"row-{number % 10_000:032}", "UPDATE", channel.id, _NOW)
            publication.projects.setdefault(channel, []).append(
                publishable_event(event, channel)
            )
        expected = self._received + count * len(self._links)
        await self._publisher.publish(publication, _STATE)
        self._published += count
        await self._until(lambda: self._received, expected)

    async def _until(self, count: Any, expected: int) -> None:
        async with asyncio.timeout(HANG_SECONDS):
            while count() < expected:
                await asyncio.sleep(0.001)

    def _count(self, messages: Sequence[tuple[bytes, bytes]]) -> None:
        self._received += len(messages)

    def _acknowledge(self, names: Sequence[bytes]) -> None:
        self._acknowledged += len(names)

    def close(self) -> None:
        for links in self._links:
            for link in links:
                link.abort()


def _fail(moved: int | bytes) -> None:
    raise AssertionError(f"a slot was moved: {moved!r}")


@asynccontextmanager
async def running(size: Size, *, is_cluster: bool) -> AsyncIterator[Redis]:
    async with AsyncExitStack() as stack:
        servers: Sequence[ValkeyServer]
        if is_cluster:
            cluster = await stack.enter_async_context(redis_cluster(replicas=False))
            servers, url = cluster.nodes, cluster.url
        else:
            folder = stack.enter_context(
                tempfile.TemporaryDirectory(prefix="neverstale-redis-")
            )
            server = ValkeyServer(Path(folder) / "valkey")
            server.start()
            stack.callback(server.kill)
            servers, url = [server], server.url
        access = await stack.enter_async_context(open_redis(url, "", is_cluster=is_cluster))
        redis = Redis(servers, access, size)
        stack.callback(redis.close)
        await redis.prepare()
        yield redis


async def measure(size: Size) -> None:
    print(f"{size.channels:,} channels; us of CPU time for each message:\n")
    kinds = ("one server", "busiest of three", "publisher, one server", "publisher, three")
    titles = [f"{kind}: {count} in a call" for kind in kinds for count in PER_CALL]
    print("| gateways | " + " | ".join(titles) + " |")
    print("|---" * (len(titles) + 1) + "|", flush=True)
    async with running(size, is_cluster=False) as one, running(size, is_cluster=True) as three:
        for gateways in GATEWAYS:
            await one.subscribe(gateways)
            await three.subscribe(gateways)
            # one after the other for each size, as the machine may be slower a minute later
            found = [[await each.measure(count) for each in (one, three)] for count in PER_CALL]
            costs = [cost for kind in zip(*found, strict=True) for cost in kind]
            figures = [*(cost.server_us for cost in costs), *(cost.own_us for cost in costs)]
            cells = [f"{figure:.1f}" for figure in figures]
            print(f"| {gateways} | " + " | ".join(cells) + " |", flush=True)
        for name, each in (("one server", one), ("three", three)):
            print(f"\n{each.kib_per_subscription():.2f} KiB for each subscription, {name}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench-redis", description=__doc__)
    parser.add_argument("--channels", type=int, default=1000)
    parser.add_argument("--messages", type=int, default=50_000, help="in each measurement")
    arguments = parser.parse_args()
    uvloop.run(measure(Size(arguments.channels, arguments.messages)))
    return 0


if __name__ == "__main__":
    sys.exit(main())

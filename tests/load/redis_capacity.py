"""``make bench-redis``: what one Redis holds.

CPU time is that of the server's process: its commands run on one core, so the inverse is the
most messages a second. Gateways are connections that subscribe to all channels, as if each had
a client in every project, and read whatever comes.
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import uvloop

from deploy.dev.servers import ValkeyServer
from gateway.delivery.pubsub import PubSub
from listener.leader.publication import Publication, PublicationRules
from listener.leader.publisher import Publisher
from shared.config.access_rules import AccessRules
from shared.links.redis_link import Client, connect
from shared.protocol.channels import Channel, RedisNames
from shared.protocol.events import Event, publishable_event
from tests.support.machine import own_cpu_seconds, resident_kib

GATEWAYS: Final = (0, 1, 2, 4, 8, 16)
PER_CALL: Final = (1, 10)
PER_BATCH: Final = 500
HANG_SECONDS: Final = 300.0
_NOW: Final = datetime.now(UTC)
_NAMES: Final = RedisNames()
_RULES: Final = PublicationRules(AccessRules("text", "text", "", ""), frozenset(), 1000)


@dataclass(frozen=True)
class Size:
    """Channels, and messages in each measurement."""

    channels: int
    messages: int


class Redis:
    """A server, a leader's publisher, and gateways' subscriptions."""

    def __init__(self, server: ValkeyServer, client: Client, size: Size) -> None:
        self._server = server
        self._size = size
        self._publisher = Publisher(client, _NAMES, _RULES, leader="bench", ttl_seconds=3600)
        self._channels = [Channel("project", f"p{number}") for number in range(size.channels)]
        self._links: list[PubSub] = []
        self._received = 0
        self._acknowledged = 0
        self._published = 0
        self._kib = 0

    async def prepare(self) -> None:
        await self._publisher.adopt()
        await self._publish(self._size.channels, 1)
        self._kib = resident_kib(self.pid)

    @property
    def pid(self) -> int:
        assert self._server.process is not None
        return self._server.process.pid

    async def subscribe(self, gateways: int) -> None:
        """Have so many gateways subscribed."""
        for _ in range(gateways - len(self._links)):
            link = await PubSub.connect(self._server.url, self._count, self._acknowledge)
            self._links.append(link)
            link.subscribe([_NAMES.channel(channel) for channel in self._channels])
        await self._until(lambda: self._acknowledged, gateways * len(self._channels))

    def kib_per_subscription(self) -> float:
        """Return what the server's memory has grown by since before the first."""
        return (resident_kib(self.pid) - self._kib) / self._acknowledged

    async def measure(self, per_call: int) -> float:
        """Publish, and return the microseconds of the server's CPU time for each message."""
        await self._publish(PER_BATCH * per_call, per_call)  # once per size, unmeasured
        started, first = own_cpu_seconds(self.pid), self._published
        while self._published - first < self._size.messages:
            await self._publish(PER_BATCH * per_call, per_call)
        used = own_cpu_seconds(self.pid) - started
        return 1e6 * used / (self._published - first)

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
        await self._publisher.publish(publication, "g1")
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
        for link in self._links:
            link.abort()


@asynccontextmanager
async def running(size: Size) -> AsyncIterator[Redis]:
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="neverstale-redis-"))
        server = ValkeyServer(Path(folder) / "valkey")
        server.start()
        stack.callback(server.kill)
        client = connect(server.url)
        stack.push_async_callback(client.aclose)
        redis = Redis(server, client, size)
        stack.callback(redis.close)
        await redis.prepare()
        yield redis


async def measure(size: Size) -> None:
    print(f"{size.channels:,} channels; us of the server's CPU time for each message\n")
    titles = [f"{count} to a channel in one call" for count in PER_CALL]
    print("| gateways | " + " | ".join(titles) + " | messages/s at most |")
    print("|---|" + "---|" * (len(titles) + 1), flush=True)
    async with running(size) as redis:
        for gateways in GATEWAYS:
            await redis.subscribe(gateways)
            costs = [await redis.measure(per_call) for per_call in PER_CALL]
            cells = [f"{cost:.1f}" for cost in costs]
            most = " to ".join(f"{1e6 / cost:,.0f}" for cost in costs)
            cells.append(most)
            print(f"| {gateways} | " + " | ".join(cells) + " |", flush=True)
        print(f"\n{redis.kib_per_subscription():.2f} KiB of memory for each subscription")


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench-redis", description=__doc__)
    parser.add_argument("--channels", type=int, default=1000)
    parser.add_argument("--messages", type=int, default=50_000, help="in each measurement")
    arguments = parser.parse_args()
    uvloop.run(measure(Size(arguments.channels, arguments.messages)))
    return 0


if __name__ == "__main__":
    sys.exit(main())

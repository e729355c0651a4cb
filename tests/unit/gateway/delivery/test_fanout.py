"""The fan-out between a registry and sockets: batches, bounds, what is said first."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from prometheus_client import CollectorRegistry

from gateway.delivery.effects import LogPage, ReadLogs
from gateway.delivery.fanout import Fanout
from gateway.delivery.subscriptions import MAX_BYTES_PER_BATCH
from gateway.delivery.writes import MAX_CHUNK_BYTES
from gateway.metrics import FanoutMetrics
from gateway.transport.clients import PlainClient, V1Client
from gateway.transport.connection import HIGH_WATER_BYTES, Connection
from shared.protocol.channels import Channel, RedisNames
from shared.protocol.control_messages import Recheck, Tick
from shared.protocol.events import Event, publishable_event
from shared.protocol.replay import Cursor, LogHead, Since
from tests.unit.gateway.transport.fake_socket import FakeTransport, connection

P, U = Channel("project", "p"), Channel("user", "u")
NAMES = [b"project:p", b"user:u"]


def frame(channel: Channel, row: str, offset: int) -> bytes:
    event = Event("task", row, "UPDATE", "p", datetime.now(UTC))
    part = publishable_event(event, channel)
    return part.head + f"g1.x.{offset}".encode() + part.tail


class Logs:
    """Channel logs with so many rows each, above the floor."""

    def __init__(self, rows: int = 0, page: int = 10) -> None:
        self.rows = rows
        self.page = page
        self.reads = 0

    async def prepare(self) -> None:
        pass

    async def read(self, read: ReadLogs) -> Mapping[Channel, LogPage]:
        self.reads += 1
        return {channel: self._answer(channel, since) for channel, since in read.wanted.items()}

    def _answer(self, channel: Channel, since: Since) -> LogPage:
        head = LogHead("g1.x", 5, 5 + self.rows)
        after = 5 + self.rows if since is None else since.offset
        offsets = range(after + 1, head.last + 1)
        frames = [
            (Cursor(channel, "g1.x", offset), frame(channel, f"r{offset}", offset))
            for offset in offsets[: self.page]
        ]
        return LogPage(head, frames, more=len(offsets) > self.page)


LINK: Any = SimpleNamespace(
    subscribe=lambda _: None, unsubscribe=lambda _: None, abort=lambda: None
)


async def fanout(
    tasks: asyncio.TaskGroup, *, live: bool = True, logs: Logs | None = None
) -> Fanout:
    given: Any = logs or Logs()
    made = Fanout(
        given,
        RedisNames(),
        FanoutMetrics(CollectorRegistry()),
        tasks,
        spread_seconds=0,
        slow_seconds=30,
    )
    made.receive_tick(Tick("g1", "gap", live=live, at=1))
    await made.link_up(LINK)
    return made


def joined(
    made: Fanout, tasks: asyncio.TaskGroup, *, kind: type[Connection] = V1Client
) -> tuple[Connection, FakeTransport]:
    transport = FakeTransport()
    made_connection = connection(tasks, transport, kind=kind)
    made.join(made_connection, {P: None, U: None})
    return made_connection, transport


async def joined_and_filled(
    made: Fanout, tasks: asyncio.TaskGroup
) -> tuple[Connection, FakeTransport]:
    """A live client that has left all unread that it may."""
    client, transport = joined(made, tasks)
    made.acknowledged(NAMES)
    await client.greeted.wait()
    transport.reads, transport.unread = False, HIGH_WATER_BYTES
    return client, transport


async def test_who_fills_up_within_a_batch_is_still_told_the_rest_of_it() -> None:
    async with asyncio.TaskGroup() as tasks:
        made = await fanout(tasks)
        _, transport = await joined_and_filled(made, tasks)
        batch: Sequence[tuple[bytes, bytes]] = [
            (NAMES[0], frame(P, "first", 100)),
            (NAMES[1], frame(U, "second", 101)),
        ]
        made.deliver(batch)
        assert b'"first"' in transport.told
        assert b'"second"' in transport.told
        made.deliver([(NAMES[0], frame(P, "third", 102))])
        assert b'"third"' not in transport.told, "it is caught up when it has drained"


async def test_whatever_is_written_fills_a_client_up() -> None:
    """Not only events: an answer, a pong or an error counts, too."""
    async with asyncio.TaskGroup() as tasks:
        made = await fanout(tasks)
        client, transport = await joined_and_filled(made, tasks)
        client.write(b"pong")
        made.deliver([(NAMES[0], frame(P, "first", 100))])
        assert b'"first"' not in transport.told
        watching = tasks.create_task(made.run())
        transport.read_all()
        async with asyncio.timeout(10):
            while not made._registry.is_caught_up(client):
                await asyncio.sleep(0.01)
        watching.cancel()


async def test_one_read_of_redis_exceeds_the_bound_by_a_piece_only() -> None:
    async with asyncio.TaskGroup() as tasks:
        made = await fanout(tasks)
        client, transport = joined(made, tasks)
        made.acknowledged(NAMES)
        await client.greeted.wait()
        transport.reads = False
        made.deliver([(NAMES[0], frame(P, f"r{n}", 100 + n)) for n in range(5000)])
        assert HIGH_WATER_BYTES < transport.unread < HIGH_WATER_BYTES + 2 * MAX_CHUNK_BYTES
        assert not transport.is_cut


async def test_a_hundred_old_places_of_a_client_that_never_reads_are_bounded() -> None:
    async with asyncio.TaskGroup() as tasks:
        logs = Logs(rows=20)
        made = await fanout(tasks, logs=logs)
        client, transport = joined(made, tasks)
        made.acknowledged(NAMES)
        await client.greeted.wait()
        transport.reads = False
        channels = [Channel("project", f"p{n}") for n in range(100)]
        for channel in channels:
            made.subscribe(client, channel, Cursor(channel, "g1.x", 5))
        made.acknowledged([channel.name.encode() for channel in channels])
        async with asyncio.timeout(10):
            while not client.has_backpressure:
                await asyncio.sleep(0)
        reads = logs.reads
        for _ in range(100):
            await asyncio.sleep(0)
        assert logs.reads <= reads + 1, "but for the read under way none that can't be told"
        bound = HIGH_WATER_BYTES + MAX_BYTES_PER_BATCH + 100 * 1024
        assert HIGH_WATER_BYTES < transport.most_unread < bound
        assert not transport.is_cut
        watching = tasks.create_task(made.run())
        transport.read_all()
        async with asyncio.timeout(10):
            while not made._registry.is_caught_up(client):
                await asyncio.sleep(0.01)
        for channel in channels:
            assert transport.told.count(f'"{channel.token}.g1.x.25"'.encode()) == 1
        watching.cancel()


async def test_a_plain_client_is_told_of_its_access_with_the_event_only() -> None:
    """Not while it is behind: it is told of both as it is caught up."""
    async with asyncio.TaskGroup() as tasks:
        made = await fanout(tasks)
        client, transport = joined(made, tasks, kind=PlainClient)
        made.acknowledged(NAMES)
        await client.greeted.wait()
        event = Event("project_members", "p:u", "INSERT", "p", datetime.now(UTC))
        part = publishable_event(event, U)
        first, second = (part.head + f"g1.x.{offset}".encode() + part.tail for offset in (7, 8))
        named = [Recheck("p", "u")]
        assert made.deliver([(NAMES[1], first), (NAMES[1], second)]) == named
        assert transport.told.count(b"access_changed") == 2
        made._too_much(client)
        assert made.deliver([(NAMES[1], first)]) == named
        assert transport.told.count(b"access_changed") == 2


async def test_nothing_is_said_before_the_greeting() -> None:
    async with asyncio.TaskGroup() as tasks:
        made = await fanout(tasks, live=False)
        _, transport = joined(made, tasks)
        telling = tasks.create_task(made.run())
        await asyncio.sleep(0.6)  # longer than between two looks
        assert transport.told == b""
        made.acknowledged(NAMES)
        async with asyncio.timeout(10):
            while b"status" not in transport.told:
                await asyncio.sleep(0.01)
        assert transport.told.index(b"connected") < transport.told.index(b"status")
        telling.cancel()


async def test_channels_that_were_left_while_redis_was_away_are_forgotten() -> None:
    async with asyncio.TaskGroup() as tasks:
        made = await fanout(tasks)
        client, _ = joined(made, tasks)
        made.link_lost()
        made.leave(client)
        await made.link_up(LINK)
        cursor = Cursor(P, "g1.x", 7)
        made.deliver([(NAMES[0], frame(P, "row", cursor.offset))])
        assert made._metrics.foreign._value.get() == 1, "nobody knows that channel any more"

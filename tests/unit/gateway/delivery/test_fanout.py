"""Fanout with real connections and a fake Redis: chunks, bounds, order, access, status."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from gateway.delivery import effect_runner, status_notifier
from gateway.delivery import fanout as fanout_module
from gateway.delivery.catch_up import MAX_BYTES_PER_BATCH
from gateway.delivery.effects import LogPage, ReadLogs
from gateway.delivery.fanout import Fanout
from gateway.delivery.writes import MAX_CHUNK_BYTES
from gateway.metrics import FanoutMetrics
from gateway.transport.clients import PlainClient, V1Client
from gateway.transport.connection import HIGH_WATER_BYTES, Connection
from gateway.transport.websocket import WebSocket
from shared.protocol.channels import Channel, RedisNames
from shared.protocol.control_messages import Recheck, Tick
from shared.protocol.events import Event, access_change_of, publishable_event
from shared.protocol.replay import Cursor, LogHead, Since
from tests.support.event_streams import parse_events
from tests.unit.gateway.transport.fake_socket import (
    FakeTransport,
    connection,
    event_stream,
    until_greeted,
)

P, U = Channel("project", "p"), Channel("user", "u")
NAMES = [b"project:p", b"user:u"]


def frame(channel: Channel, row: str, offset: int) -> bytes:
    event = Event("task", row, "UPDATE", "p", datetime.now(UTC))
    part = publishable_event(event, channel)
    return part.head + f"g1.x.{offset}".encode() + part.tail


def membership_frame(offset: int) -> bytes:
    event = Event("project_members", "p:u", "INSERT", "p", datetime(2000, 1, 1, tzinfo=UTC))
    part = publishable_event(event, U)
    return part.head + f"g1.x.{offset}".encode() + part.tail


class Logs:
    """Channel logs of *rows* rows each, above the floor."""

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
    tasks: asyncio.TaskGroup,
    *,
    live: bool = True,
    logs: Logs | None = None,
    slow_seconds: float = 30,
    registry: CollectorRegistry | None = None,
) -> Fanout:
    given: Any = logs or Logs()
    made = Fanout(
        given,
        RedisNames(),
        FanoutMetrics(registry or CollectorRegistry()),
        tasks,
        spread_seconds=0,
        slow_seconds=slow_seconds,
    )
    made.receive_tick(Tick("g1", "gap", live=live, at=1))
    await made.link_up(LINK)
    return made


def joined(
    made: Fanout, tasks: asyncio.TaskGroup, *, kind: type[WebSocket] = V1Client
) -> tuple[Connection, FakeTransport]:
    transport = FakeTransport()
    made_connection = connection(tasks, transport, kind=kind)
    made.join(made_connection, {P: None, U: None})
    return made_connection, transport


async def joined_and_filled(
    made: Fanout, tasks: asyncio.TaskGroup
) -> tuple[Connection, FakeTransport]:
    """A live client with an exactly full buffer."""
    client, transport = joined(made, tasks)
    made.acknowledge(NAMES)
    await until_greeted(client)
    transport.reads, transport.unread = False, HIGH_WATER_BYTES
    return client, transport


async def test_a_client_whose_buffer_fills_up_still_gets_the_rest_of_the_chunk() -> None:
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
        assert b'"third"' not in transport.told, "it is caught up once it has drained"


async def test_a_stream_never_resumes_above_what_was_written_to_it() -> None:
    """The frames of several channels are decided on before any is written."""
    async with asyncio.TaskGroup() as tasks:
        made, transport = await fanout(tasks), FakeTransport()
        stream = event_stream(tasks, transport)
        made.join(stream, {P: None, U: None})
        made.acknowledge(NAMES)
        await until_greeted(stream)
        transport.told = b""
        made.deliver(
            [
                (NAMES[0], frame(P, "first", 100)),
                (NAMES[1], frame(U, "second", 101)),
                (NAMES[0], frame(P, "third", 102)),
            ]
        )
        events = parse_events(transport.told)
    assert [event.last_id for event in events[-2:]] == [
        "project:p.g1.x.102,user:u.g1.x.5",
        "project:p.g1.x.102,user:u.g1.x.101",
    ]


async def test_every_write_counts_towards_the_full_buffer() -> None:
    """Answers, pongs and errors count, not only events."""
    async with asyncio.TaskGroup() as tasks:
        made = await fanout(tasks)
        client, transport = await joined_and_filled(made, tasks)
        client.write(b"pong")
        made.deliver([(NAMES[0], frame(P, "first", 100))])
        assert b'"first"' not in transport.told
        running = tasks.create_task(made.run())
        transport.read_all()
        async with asyncio.timeout(10):
            while not made._subscriptions.is_caught_up(client):
                await asyncio.sleep(0.01)
        running.cancel()


async def test_one_read_of_redis_exceeds_the_bound_by_one_chunk_at_most() -> None:
    async with asyncio.TaskGroup() as tasks:
        made = await fanout(tasks)
        client, transport = joined(made, tasks)
        made.acknowledge(NAMES)
        await until_greeted(client)
        transport.reads = False
        made.deliver([(NAMES[0], frame(P, f"r{n}", 100 + n)) for n in range(5000)])
        assert HIGH_WATER_BYTES < transport.unread < HIGH_WATER_BYTES + 2 * MAX_CHUNK_BYTES
        assert not transport.is_cut


async def test_a_hundred_replays_to_a_client_that_never_reads_are_bounded() -> None:
    async with asyncio.TaskGroup() as tasks:
        logs = Logs(rows=20)
        made = await fanout(tasks, logs=logs)
        client, transport = joined(made, tasks)
        made.acknowledge(NAMES)
        await until_greeted(client)
        transport.reads = False
        channels = [Channel("project", f"p{n}") for n in range(100)]
        for channel in channels:
            made.subscribe(client, channel, Cursor(channel, "g1.x", 5))
        made.acknowledge([channel.name.encode() for channel in channels])
        async with asyncio.timeout(10):
            while not client.has_backpressure:
                await asyncio.sleep(0)
        reads = logs.reads
        for _ in range(100):
            await asyncio.sleep(0)
        assert logs.reads <= reads + 1, (
            "nothing is read that cannot be written, except in the batch in flight"
        )
        bound = HIGH_WATER_BYTES + MAX_BYTES_PER_BATCH + 100 * 1024
        assert HIGH_WATER_BYTES < transport.most_unread < bound
        assert not transport.is_cut
        running = tasks.create_task(made.run())
        transport.read_all()
        async with asyncio.timeout(10):
            while not made._subscriptions.is_caught_up(client):
                await asyncio.sleep(0.01)
        for channel in channels:
            assert transport.told.count(f'"{channel.token}.g1.x.25"'.encode()) == 1
        running.cancel()


async def test_a_plain_client_gets_access_changed_with_the_event() -> None:
    """Not while it is catching up: then both are replayed."""
    async with asyncio.TaskGroup() as tasks:
        made = await fanout(tasks)
        client, transport = joined(made, tasks, kind=PlainClient)
        made.acknowledge(NAMES)
        await until_greeted(client)
        first, second = membership_frame(7), membership_frame(8)
        named = [Recheck("p", "u")]
        assert made.deliver([(NAMES[1], first), (NAMES[1], second)]) == named
        assert transport.told.count(b"access_changed") == 2
        made._slow_consumers.add(client)
        assert made.deliver([(NAMES[1], first)]) == named
        assert transport.told.count(b"access_changed") == 2


async def test_no_status_is_sent_before_the_greeting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_notifier, "STATUS_SECONDS", 0)
    async with asyncio.TaskGroup() as tasks:
        made = await fanout(tasks, live=False)
        _, transport = joined(made, tasks)
        running = tasks.create_task(made.run())
        for _ in range(100):  # as many checks
            await asyncio.sleep(0)
        assert transport.told == b""
        made.acknowledge(NAMES)
        async with asyncio.timeout(10):
            while b"status" not in transport.told:
                await asyncio.sleep(0.01)
        assert transport.told.index(b"connected") < transport.told.index(b"status")
        running.cancel()


async def test_channels_that_were_left_without_a_link_are_forgotten() -> None:
    async with asyncio.TaskGroup() as tasks:
        made = await fanout(tasks)
        client, _ = joined(made, tasks)
        made.link_lost()
        made.leave(client)
        await made.link_up(LINK)
        cursor = Cursor(P, "g1.x", 7)
        made.deliver([(NAMES[0], frame(P, "row", cursor.offset))])
        assert made._metrics.frames.foreign == 1, "the channel is unknown"


class Decoder:
    """Decodes frames of users' channels, and counts them."""

    def __init__(self) -> None:
        self.count = 0

    def decode(self, payload: bytes) -> tuple[str, bool] | None:
        self.count += 1
        return access_change_of(payload)


async def test_a_users_frame_is_decoded_once_for_all_connections(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decoder = Decoder()
    monkeypatch.setattr(fanout_module, "access_change_of", decoder.decode)
    monkeypatch.setattr(effect_runner, "access_change_of", decoder.decode)
    async with asyncio.TaskGroup() as tasks:
        made = await fanout(tasks)
        clients = [
            joined(made, tasks, kind=kind) for kind in (PlainClient, PlainClient, V1Client)
        ]
        made.acknowledge(NAMES)
        for client, _ in clients:
            await until_greeted(client)
        frames = [(NAMES[1], membership_frame(7)), (NAMES[0], frame(P, "row", 8))]
        assert made.deliver(frames) == [Recheck("p", "u")]
        assert decoder.count == 1
        told = [transport.told.count(b"access_changed") for _, transport in clients]
        assert told == [1, 1, 0]


async def test_a_plain_client_gets_a_change_of_its_project_once() -> None:
    """It is on the user's channel too; only a client with cursors needs both."""
    async with asyncio.TaskGroup() as tasks:
        made = await fanout(tasks)
        clients = [joined(made, tasks, kind=kind) for kind in (PlainClient, V1Client)]
        elsewhere = FakeTransport()
        other = connection(tasks, elsewhere, kind=PlainClient)
        made.join(other, {Channel("project", "q"): None, U: None})
        made.acknowledge([*NAMES, b"project:q"])
        for client in (*(client for client, _ in clients), other):
            await until_greeted(client)
        on_user = [(NAMES[1], frame(U, "one", 10)), (NAMES[1], frame(U, "two", 11))]
        made.deliver([*on_user, (NAMES[0], frame(P, "one", 12))])
        told = [transport.told for transport in (clients[0][1], clients[1][1], elsewhere)]
        assert [text.count(b'"id":"one"') for text in told] == [1, 2, 1]
        assert [text.count(b'"id":"two"') for text in told] == [1, 1, 1]
        made.deliver([(NAMES[1], frame(U, "three", 13))])
        assert clients[0][1].told.count(b'"id":"three"') == 1, "it is nowhere else"


class MembershipLogs(Logs):
    """Channel logs whose only row is a change of the user's access."""

    def _answer(self, channel: Channel, since: Since) -> LogPage:
        frames = [(Cursor(channel, "g1.x", 7), membership_frame(7))]
        return LogPage(LogHead("g1.x", 5, 7), frames)


async def test_a_replayed_frame_is_decoded_once_and_only_for_plain_clients(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decoder = Decoder()
    monkeypatch.setattr(effect_runner, "access_change_of", decoder.decode)
    async with asyncio.TaskGroup() as tasks:
        made = await fanout(tasks, logs=MembershipLogs())
        batches: Any = ([V1Client], 0), ([PlainClient, PlainClient], 1)
        for kinds, decoded in batches:
            transports = [FakeTransport() for _ in kinds]
            clients = [
                connection(tasks, transport, kind=kind)
                for transport, kind in zip(transports, kinds, strict=True)
            ]
            for client in clients:
                made.join(client, {P: Cursor(P, "g1.x", 6), U: Cursor(U, "g1.x", 6)})
            made.acknowledge(NAMES)
            async with asyncio.timeout(10):
                while not all(map(made._subscriptions.is_caught_up, clients)):
                    await asyncio.sleep(0)
            assert decoder.count == decoded
            told = [transport.told.count(b"access_changed") for transport in transports]
            assert told == [0 if kind is V1Client else 1 for kind in kinds]
            for client in clients:
                made.leave(client)


async def test_a_client_that_does_not_drain_is_closed() -> None:
    async with asyncio.TaskGroup() as tasks:
        made = await fanout(tasks, slow_seconds=0)
        client, transport = await joined_and_filled(made, tasks)
        client.write(b"more")
        running = tasks.create_task(made.run())
        async with asyncio.timeout(10):
            while b"too slow" not in transport.told:
                await asyncio.sleep(0.01)
        running.cancel()
        assert made._metrics.slow_outcomes.labels("closed")._value.get() == 1


async def test_while_no_leader_ticks_projects_are_suspended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fanout_module, "MISSING_SECONDS", 0)
    monkeypatch.setattr(status_notifier, "STATUS_SECONDS", 0)
    async with asyncio.TaskGroup() as tasks:
        made = await fanout(tasks)
        client, transport = joined(made, tasks)
        made.acknowledge(NAMES)
        await until_greeted(client)
        running = tasks.create_task(made.run())
        async with asyncio.timeout(10):
            while b'"live":false' not in transport.told:
                await asyncio.sleep(0)
        running.cancel()
        made.deliver([(NAMES[0], frame(P, "first", 7)), (NAMES[1], frame(U, "second", 8))])
        assert b'"first"' not in transport.told
        assert b'"second"' in transport.told, "a user's own channel needs no access"


async def test_a_client_with_a_lost_channel_is_not_live_until_it_has_caught_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(status_notifier, "MISSING_SECONDS", 0)
    monkeypatch.setattr(status_notifier, "STATUS_SECONDS", 0)
    async with asyncio.TaskGroup() as tasks:
        made = await fanout(tasks)
        client, transport = joined(made, tasks)
        made.acknowledge(NAMES)
        await until_greeted(client)
        running = tasks.create_task(made.run())
        made.lose(NAMES[:1])
        async with asyncio.timeout(10):
            while b'"live":false' not in transport.told:
                await asyncio.sleep(0)
            assert b'"live":true' not in transport.told
            made.acknowledge(NAMES[:1])
            while b'"live":true' not in transport.told:
                await asyncio.sleep(0)
        running.cancel()


async def test_suspended_projects_are_resumed_or_revoked() -> None:
    async with asyncio.TaskGroup() as tasks:
        made = await fanout(tasks, logs=Logs(rows=1))
        client, transport = joined(made, tasks)
        other = Channel("project", "q")
        made.acknowledge(NAMES)
        await until_greeted(client)
        made.subscribe(client, other, None)
        made.acknowledge([b"project:q"])
        async with asyncio.timeout(10):
            while not made._subscriptions.is_caught_up(client):
                await asyncio.sleep(0)
        subscriptions = made.project_subscriptions
        assert subscriptions.pairs(Recheck(None, "u")) == [("p", "u"), ("q", "u")]
        subscriptions.suspend(("p", "u"))
        made.deliver([(NAMES[0], frame(P, "first", 100))])
        assert b'"first"' not in transport.told
        subscriptions.resume(("p", "u"))
        async with asyncio.timeout(10):
            while not made._subscriptions.is_caught_up(client):
                await asyncio.sleep(0)
        made.deliver([(NAMES[0], frame(P, "second", 101))])
        assert b'"second"' in transport.told
        subscriptions.revoke(("q", "u"))
        assert b'"revoked"' in transport.told
        assert subscriptions.pairs(Recheck(None, None)) == [("p", "u")]
        subscriptions.revoke(("p", "u"))  # its last project
        assert b"forbidden" in transport.told


async def test_connections_are_closed_if_access_cannot_be_checked() -> None:
    async with asyncio.TaskGroup() as tasks:
        made = await fanout(tasks)
        _, transport = joined(made, tasks)
        made.project_subscriptions.give_up(("p", "u"))
        made.project_subscriptions.give_up(("unknown", "u"))
        assert b"unavailable" in transport.told


async def test_the_time_from_a_change_to_its_write_is_measured_by_the_database_clock() -> None:
    registry = CollectorRegistry()
    async with asyncio.TaskGroup() as tasks:
        made = await fanout(tasks, registry=registry)
        client, transport = joined(made, tasks)
        made.acknowledge(NAMES)
        await until_greeted(client)

        def deliver(offset: int) -> list[float]:
            made.deliver([(NAMES[1], membership_frame(offset))])  # of 2000-01-01
            name = "neverstale_delivery_seconds"
            found = (registry.get_sample_value(f"{name}_{end}") for end in ("count", "sum"))
            return [value or 0.0 for value in found]

        assert deliver(7) == [0, 0], "no tick has told the database's time"
        a_minute_later = round((datetime(2000, 1, 1, 0, 1, tzinfo=UTC)).timestamp() * 1e6)
        made.receive_tick(Tick("g1", "gap", live=True, at=2, database_at=a_minute_later))
        count, seconds = deliver(8)
        assert count == 1
        assert 60 <= seconds < 90
        assert deliver(9) == [count, seconds], "a busy gateway measures a sample"
        made._measure_next()
        made.receive_tick(Tick("g2", "gap", live=True, at=3))
        assert deliver(10) == [count, seconds], "another generation may be another database's"
        assert registry.get_sample_value("neverstale_handshake_seconds_count") == 1
        assert registry.get_sample_value("neverstale_catch_up_seconds_count") == 1
        assert registry.get_sample_value("neverstale_live") == 1
        assert transport.told


async def test_frames_left_out_for_a_newer_one_are_counted_as_conflated() -> None:
    registry = CollectorRegistry()
    async with asyncio.TaskGroup() as tasks:
        made = await fanout(tasks, registry=registry)
        clients = [joined(made, tasks)[0] for _ in range(2)]
        made.acknowledge(NAMES)
        for client in clients:
            await until_greeted(client)
        made.deliver([(NAMES[0], frame(P, "same", 100 + n)) for n in range(3)])
    assert registry.get_sample_value("neverstale_frames_delivered_total") == 2
    assert registry.get_sample_value("neverstale_frames_conflated_total") == 4

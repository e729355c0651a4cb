"""Fanout with real connections and a fake Redis: order, access, status, what is counted."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from gateway.delivery import effect_runner, status_notifier
from gateway.delivery import fanout as fanout_module
from gateway.delivery.effects import LogPage
from gateway.transport.clients import PlainClient, V1Client
from shared.protocol.channels import Channel
from shared.protocol.control_messages import Recheck, Tick
from shared.protocol.events import access_change_of
from shared.protocol.replay import Cursor, LogHead, Since
from tests.support.event_streams import parse_events
from tests.unit.gateway.delivery.fanouts import (
    LINK,
    NAMES,
    Logs,
    P,
    U,
    fanout,
    frame,
    joined,
    membership_frame,
)
from tests.unit.gateway.transport.fake_socket import (
    FakeTransport,
    connection,
    event_stream,
    until_greeted,
)


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

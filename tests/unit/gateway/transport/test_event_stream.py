"""What a stream of server-sent events is sent, and from where its client would resume."""

import asyncio
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from gateway.transport.channel_frames import ChannelFrames
from gateway.transport.connection import MAX_UNREAD_BYTES
from gateway.transport.event_stream import COMMENT_SECONDS, EventStream
from shared.protocol.channels import Channel
from shared.protocol.close_codes import FORBIDDEN, TOKEN_EXPIRED
from shared.protocol.replay import Cursor
from tests.support.event_streams import EventParser, parse_events
from tests.unit.gateway.transport.fake_socket import FakeService, FakeTransport, event_stream

PROJECT, OTHER, USER = Channel("project", "p"), Channel("project", "q"), Channel("user", "u")
CURSORS = [Cursor(PROJECT, "g.r", 5), Cursor(OTHER, "g.r", 6), Cursor(USER, "g.r", 7)]


def frame(channel: Channel, offset: int) -> bytes:
    return b'{"row":%d,"cursor":"%s"}' % (offset, str(Cursor(channel, "g.r", offset)).encode())


def sent(transport: FakeTransport) -> list[tuple[Any, list[str]]]:
    """The frames, and the offsets from which the client would resume after each."""
    return [
        (orjson.loads(event.data), [c.rpartition(".")[2] for c in event.last_id.split(",")])
        for event in parse_events(transport.told)
    ]


def greeted(stream: EventStream, transport: FakeTransport) -> EventStream:
    stream.greet(CURSORS, [])
    transport.told = b""
    return stream


async def test_the_greeting_has_all_cursors_and_is_followed_by_what_is_refused() -> None:
    async with asyncio.TaskGroup() as tasks:
        transport = FakeTransport()
        stream = event_stream(tasks, transport, refused={"Z": FORBIDDEN})
        stream.greet(CURSORS, [USER])
        [(greeting, offsets), (error, _)] = sent(transport)
        assert (greeting["type"], greeting["resumed"]) == ("connected", ["user:u"])
        assert offsets == ["5", "6", "7"]
        assert (error["code"], error["project_id"]) == ("forbidden", "Z")
        assert stream.is_greeted


@pytest.mark.parametrize(
    ("act", "types", "offsets"),
    [
        (
            lambda stream: stream.deliver(
                ChannelFrames(OTHER, [frame(OTHER, 8), frame(OTHER, 9)])
            ),
            [None, None],
            ["5", "9", "7"],
        ),
        (
            lambda stream: stream.reset(
                [Cursor(PROJECT, "g.r", 20)], "gap", project_id="p", spread_seconds=0
            ),
            ["reconnect"],
            ["20", "6", "7"],
        ),
        (lambda stream: stream.revoke("q", has_others=True), ["unsubscribed"], ["5", "7"]),
        (lambda stream: stream.report_liveness(live=False), ["status"], ["5", "6", "7"]),
        (
            lambda stream: [stream.warn_of_expiry(s) for s in (900, 30)],
            ["token_expiring"],
            ["5", "6", "7"],
        ),
    ],
)
async def test_each_write_ends_with_the_cursors_of_what_was_written(
    act: Callable[[EventStream], object], types: list[str | None], offsets: list[str]
) -> None:
    async with asyncio.TaskGroup() as tasks:
        transport = FakeTransport()
        act(greeted(event_stream(tasks, transport), transport))
        frames = sent(transport)
    assert [frame.get("type") for frame, _ in frames] == types
    assert frames[-1][1] == offsets


async def test_its_last_event_has_the_close_code_and_ends_the_response() -> None:
    async with asyncio.TaskGroup() as tasks:
        transport, service = FakeTransport(), FakeService(tasks)
        stream = greeted(event_stream(tasks, transport, service=service), transport)
        stream.end_with(TOKEN_EXPIRED)
        [(error, _), (close, offsets)] = sent(transport)
        assert (error["type"], error["code"]) == ("error", "token_expired")
        assert close == {"type": "close", "code": 4401, "reason": "token_expired"}
        assert offsets == ["5", "6", "7"]
        assert transport.has_ended
        stream.end(1012, "draining")
        stream.check(0)
        transport.abort()
        await asyncio.sleep(0)
        assert service.lost_connections == [stream]
    assert len(sent(transport)) == 2, "nothing follows"


async def test_the_loss_of_the_last_project_ends_it() -> None:
    async with asyncio.TaskGroup() as tasks:
        transport = FakeTransport()
        greeted(event_stream(tasks, transport), transport).revoke("p", has_others=False)
        [(close, _)] = sent(transport)
        assert close == {"type": "close", "code": 4403, "reason": "forbidden"}
        transport.abort()


async def test_it_is_kept_alive_by_comments() -> None:
    async with asyncio.TaskGroup() as tasks:
        transport = FakeTransport()
        stream = greeted(event_stream(tasks, transport), transport)
        for now in (100.0, 200.0, 300.0):
            stream.check(now)
            assert stream.due_at == now + COMMENT_SECONDS
        parser = EventParser()
        assert parser.feed(transport.told) == []
        assert parser.comments == 3
        assert not transport.is_cut


async def test_what_its_client_sends_is_not_read() -> None:
    async with asyncio.TaskGroup() as tasks:
        transport = FakeTransport()
        greeted(event_stream(tasks, transport), transport).data_received(b"GET / HTTP/1.1")
        assert transport.is_paused


async def test_a_client_that_reads_nothing_is_cut_off() -> None:
    async with asyncio.TaskGroup() as tasks:
        transport = FakeTransport()
        stream = greeted(event_stream(tasks, transport), transport)
        transport.reads = False
        filled: list[object] = []
        stream.on_backpressure = filled.append
        while not transport.is_cut:
            stream.deliver(ChannelFrames(PROJECT, [frame(PROJECT, 8)[:-1] + b" " * 50_000]))
        assert filled
        assert transport.most_unread <= MAX_UNREAD_BYTES

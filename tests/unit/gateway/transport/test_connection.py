"""What a connection reads and writes, from a client that sends too much or reads too little."""

import asyncio
import math
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from aiohttp import WSMsgType
from aiohttp.http_websocket import WSMessage

from gateway.limits.rates import Rate, RateLimiter, SocketLimits
from gateway.transport.connection import HIGH_WATER_BYTES, MAX_UNREAD_BYTES, Connection
from gateway.transport.frame_reader import PIECE_BYTES, FrameReader
from gateway.transport.websocket_frames import encode_text_frame
from shared.protocol.frames import PONG_FRAME
from tests.support.frames import frame
from tests.unit.gateway.transport.fake_socket import FakeTransport, FakeWebSocket, connection

PING = frame(9, b"")
LIMITS = SocketLimits(65_536, 1, Rate(1000, burst=100), Rate(1000, burst=1000))


class Parser:
    """Plays aiohttp's."""

    def __init__(self) -> None:
        self.fed = b""

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self.fed += data
        return False, b""

    def feed_eof(self) -> None:
        pass


class Flow:
    """Notes whether the transport is read."""

    def __init__(self) -> None:
        self.is_paused = False
        self.pauses = 0

    def pause(self) -> None:
        self.is_paused = True
        self.pauses += 1

    def resume(self) -> None:
        self.is_paused = False


def frame_reader() -> tuple[FrameReader, Parser, Flow, list[Exception]]:
    parser, flow = Parser(), Flow()
    faults: list[Exception] = []
    return FrameReader(parser, faults.append, flow.pause, flow.resume), parser, flow, faults


async def test_frames_are_judged_in_small_pieces_and_a_flood_is_read_no_further() -> None:
    reader, parser, flow, _ = frame_reader()
    judged: list[int] = []

    def judge(frames: int) -> float:
        judged.append(frames)
        return math.inf if sum(judged) > 400 else 0.0

    reader.start(judge)
    reader.feed_data(PING * 40_000)
    assert sum(judged) < 400 + PIECE_BYTES / len(PING) + 1
    assert 0 < len(parser.fed) < 400 * len(PING)
    await asyncio.sleep(0)
    assert flow.is_paused, "for ever"
    fed, looked = parser.fed, len(judged)
    reader.feed_data(PING)
    assert (parser.fed, len(judged)) == (fed, looked), "what was still on its way is dropped"


async def test_who_is_over_budget_is_not_read_for_as_long_as_it_takes() -> None:
    reader, parser, flow, _ = frame_reader()
    waits = iter([0.0, 0.01, 0.0])
    reader.start(lambda _: next(waits))
    for number, is_paused in enumerate([False, True], 1):
        reader.feed_data(PING)
        assert parser.fed == PING * number
        assert flow.is_paused is is_paused
    async with asyncio.timeout(10):
        while flow.is_paused:
            await asyncio.sleep(0.001)
    reader.feed_data(PING)
    assert (flow.pauses, parser.fed) == (1, PING * 3)


async def test_what_came_before_the_handshake_was_answered_counts_too() -> None:
    reader, parser, _, _ = frame_reader()
    judged: list[int] = []

    def judge(frames: int) -> float:
        judged.append(frames)
        return 0.0

    reader.feed_data(PING * 3)
    assert parser.fed == b""
    reader.start(judge)
    assert (parser.fed, judged) == (PING * 3, [3])


async def test_nothing_is_read_after_a_frame_that_breaks_the_rules() -> None:
    reader, parser, _, faults = frame_reader()
    reader.start(lambda _: 0.0)
    good = PING * 1000
    assert reader.feed_data(good + b"\x81\x02hi" + PING) == (True, b"")
    assert parser.fed == good
    assert len(faults) == 1
    assert reader.feed_data(PING) == (True, b"")
    assert parser.fed == good


def codes(transport: FakeTransport) -> list[str]:
    """Of the error frames written; a frame here is shorter than 126 bytes."""
    told = []
    rest = transport.told
    while rest:
        payload, rest = rest[2 : 2 + rest[1]], rest[2 + rest[1] :]
        if payload.startswith(b"{"):
            told.append(orjson.loads(payload).get("code"))
    return told


async def test_the_budget_is_told_once_and_then_ends_the_socket() -> None:
    async with asyncio.TaskGroup() as tasks:
        transport = FakeTransport()
        pacer = RateLimiter(LIMITS, asyncio.get_running_loop().time())
        client = connection(tasks, transport, rate_limiter=pacer)
        assert client._judge_frames(50) == 0
        assert 0 < client._judge_frames(200) < 1
        assert 0 < client._judge_frames(1) < 1
        assert codes(transport) == ["rate_limited"]
        assert client._judge_frames(10_000) == math.inf
    assert transport.is_cut


async def test_who_asked_for_too_much_is_not_followed_until_it_has_paid() -> None:
    """A message that costs much delays those behind it, and nobody else."""

    async def said() -> AsyncIterator[WSMessage]:
        for number in range(3):
            yield WSMessage(WSMsgType.TEXT, str(number), "")

    async with asyncio.TaskGroup() as tasks:
        transport = FakeTransport()
        pacer = RateLimiter(LIMITS, asyncio.get_running_loop().time())
        websocket = FakeWebSocket(said())
        client = connection(tasks, transport, websocket=websocket, rate_limiter=pacer)
        followed = []
        async for text in client.messages():
            followed.append(text)
            assert pacer.wait_seconds(asyncio.get_running_loop().time()) == 0
            client.charge(150 if text == "0" else 0)
            client.charge_replay(1050 if text == "1" else 0)
        assert followed == ["0", "1", "2"]
        assert websocket.closed
        assert codes(transport) == ["rate_limited"], "told of the first; the second soon after"


@pytest.mark.parametrize("kind", [WSMsgType.PING, WSMsgType.TEXT])
async def test_who_does_not_read_its_answers_is_not_followed(kind: WSMsgType) -> None:
    """Protocol pings, too: their pongs are answers."""
    taken = 0

    async def said() -> AsyncIterator[WSMessage]:
        nonlocal taken
        for _ in range(100_000):
            taken += 1
            yield WSMessage(kind, b"x" * 125 if kind is WSMsgType.PING else "ping", "")

    async with asyncio.TaskGroup() as tasks:
        transport = FakeTransport()
        transport.reads = False
        websocket = FakeWebSocket(said())
        client = connection(tasks, transport, websocket=websocket)
        full: list[Connection] = []
        client.on_backpressure = full.append

        async def follow() -> None:
            async for _ in client.messages():
                client.write(encode_text_frame(PONG_FRAME * 20))

        following = tasks.create_task(follow())
        async with asyncio.timeout(10):
            while not client.has_backpressure:
                await asyncio.sleep(0)
        before = taken
        for _ in range(100):
            await asyncio.sleep(0)
        assert taken == before
        assert HIGH_WATER_BYTES < transport.unread < HIGH_WATER_BYTES + 1000
        assert full == [client]
        transport.is_cut = True
        following.cancel()


async def test_a_client_is_cut_off_rather_than_owed_without_bound() -> None:
    async with asyncio.TaskGroup() as tasks:
        transport = FakeTransport()
        transport.reads = False
        client = connection(tasks, transport)
        for _ in range(10_000):
            client.write(b"x" * 1000)
        assert transport.is_cut
        assert HIGH_WATER_BYTES < transport.most_unread <= MAX_UNREAD_BYTES


async def test_one_large_frame_is_written_whole() -> None:
    async with asyncio.TaskGroup() as tasks:
        transport = FakeTransport()
        transport.reads = False
        client = connection(tasks, transport)
        large: Any = b"x" * (2 * MAX_UNREAD_BYTES)
        client.write(large)
        assert transport.told == large
        assert not transport.is_cut
        client.write(b"x")
        assert transport.is_cut

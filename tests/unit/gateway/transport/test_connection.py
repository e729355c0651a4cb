"""What a connection reads and writes, from a client that sends too much or reads too little."""

import asyncio
import math

import orjson
import pytest

from gateway.limits.rates import Rate, RateLimiter, SocketLimits, TokenBuckets
from gateway.transport.clients import PlainClient
from gateway.transport.connection import (
    GREETING_SECONDS,
    HIGH_WATER_BYTES,
    MAX_UNREAD_BYTES,
    PONG_SECONDS,
    Connection,
)
from gateway.transport.websocket_frames import encode_text_frame
from shared.protocol.frames import PING_INTERVAL_SECONDS, PONG_FRAME
from tests.support.frames import frame
from tests.unit.gateway.transport.fake_socket import FakeService, FakeTransport, connection

TEXT, CLOSE, PONG = 1, 8, 10
PING = frame(9, b"")
LIMITS = SocketLimits(65_536, 1, Rate(1000, burst=100), Rate(1000, burst=1000))


def limited() -> RateLimiter:
    replays: TokenBuckets[str] = TokenBuckets(LIMITS.replay_rate)
    return RateLimiter(LIMITS, asyncio.get_running_loop().time(), "u", replays)


def greeted(made: Connection, transport: FakeTransport) -> Connection:
    made.greet([], [])
    transport.told = b""
    return made


@pytest.mark.parametrize("is_greeting", [True, False])
async def test_the_handshake_is_answered_with_the_first_frame(is_greeting: bool) -> None:
    async with asyncio.TaskGroup() as tasks:
        transport = FakeTransport()
        made = connection(tasks, transport, key="dGhlIHNhbXBsZSBub25jZQ==")
        assert transport.protocol is made
        assert not transport.told
        if is_greeting:
            made.greet([], [])
        else:
            made.end(4503, "unavailable")
        head, _, first = transport.told.partition(b"\r\n\r\n")
        assert transport.writes == 1
        assert head.startswith(b"HTTP/1.1 101 ")
        assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head
        assert first[0] & 15 == (TEXT if is_greeting else CLOSE)


async def until_served(made: Connection) -> None:
    async with asyncio.timeout(10):
        while made._is_serving:
            await asyncio.sleep(0.001)


def codes(transport: FakeTransport) -> list[str | int]:
    """The codes of error and Close frames that were written; all are under 126 bytes."""
    told: list[str | int] = []
    rest = transport.told
    while rest:
        opcode, payload, rest = rest[0] & 15, rest[2 : 2 + rest[1]], rest[2 + rest[1] :]
        if opcode == CLOSE:
            told.append(int.from_bytes(payload[:2], "big"))
        elif payload.startswith(b"{") and "code" in (message := orjson.loads(payload)):
            told.append(message["code"])
    return told


async def test_messages_are_handled_in_order_and_pings_answered() -> None:
    async with asyncio.TaskGroup() as tasks:
        transport, service = FakeTransport(), FakeService(tasks)
        client = greeted(connection(tasks, transport, service=service), transport)
        client.data_received(frame(TEXT, b"a") + frame(9, b"p") + frame(TEXT, b"b"))
        assert transport.is_paused, "nothing more is read until these are handled"
        await until_served(client)
        assert service.messages == ["a", "b"]
        assert transport.told == b"\x8a\x01p"
        assert not transport.is_paused


async def test_a_client_that_has_not_been_greeted_is_served_later() -> None:
    async with asyncio.TaskGroup() as tasks:
        transport, service = FakeTransport(), FakeService(tasks)
        client = connection(tasks, transport, service=service)
        client.data_received(frame(TEXT, b"a"))
        for _ in range(5):
            await asyncio.sleep(0)
        assert (service.messages, transport.is_paused) == ([], True)
        client.greet([], [])
        await until_served(client)
        assert (service.messages, transport.is_paused) == (["a"], False)


async def test_a_client_that_leaves_before_its_greeting_is_let_go_at_once() -> None:
    async with asyncio.TaskGroup() as tasks:
        for leaves in (frame(CLOSE, b""), frame(TEXT, b"a") + frame(CLOSE, b""), b"\xff\xff"):
            transport, service = FakeTransport(), FakeService(tasks)
            client = connection(tasks, transport, service=service)
            client.data_received(leaves)
            assert transport.told[0] & 15 == CLOSE
            assert transport.protocol is not client, "it is not kept until the greeting"
            client.greet([], [])
            assert transport.told.count(b"connected") == 0, "nothing follows a Close frame"


async def test_reading_goes_on_after_a_debt_from_before_the_greeting() -> None:
    """The budget of replays is its user's, whose other connections may have spent it."""
    async with asyncio.TaskGroup() as tasks:
        transport, service = FakeTransport(), FakeService(tasks)
        rate_limiter = limited()
        rate_limiter.charge_replay(2000, asyncio.get_running_loop().time())
        client = connection(tasks, transport, service=service, rate_limiter=rate_limiter)
        client.data_received(frame(PONG, b""))
        client.greet([], [])
        assert not transport.is_paused
        client.data_received(frame(TEXT, b"a"))
        async with asyncio.timeout(10):
            while service.messages != ["a"]:
                await asyncio.sleep(0.01)


async def test_a_client_whose_message_is_being_served_is_not_silent() -> None:
    async with asyncio.TaskGroup() as tasks:
        transport, service = FakeTransport(), FakeService(tasks)
        answered = asyncio.Event()
        service.do = lambda _, text: answered.wait()
        client = greeted(connection(tasks, transport, service=service), transport)
        client.data_received(frame(TEXT, b"a"))
        await asyncio.sleep(0)
        for now in (100.0, 200.0, 300.0):
            client.check(now)
            assert client.due_at > now
        assert not transport.is_cut
        assert transport.told == b"", "no ping: its answer could not be read"
        answered.set()
        await until_served(client)
        client.check(400.0)
        assert transport.told[0] & 15 == 9


async def test_messages_of_plain_clients_are_ignored() -> None:
    async with asyncio.TaskGroup() as tasks:
        transport, service = FakeTransport(), FakeService(tasks)
        client = connection(tasks, transport, kind=PlainClient, service=service)
        greeted(client, transport).data_received(frame(TEXT, b"a"))
        await until_served(client)
        assert (service.messages, transport.told) == ([], b"")


async def test_frames_are_judged_in_small_pieces_and_a_flood_is_read_no_further() -> None:
    async with asyncio.TaskGroup() as tasks:
        transport = FakeTransport()
        client = greeted(connection(tasks, transport, rate_limiter=limited()), transport)
        judged: list[int] = []
        judge = client._rate_limiter.judge

        class Noting(RateLimiter):
            def judge(self, frames: int, now: float):  # type: ignore[no-untyped-def]  # noqa: ANN202
                judged.append(frames)
                return judge(frames, now)

        client._rate_limiter = Noting(LIMITS, 0, "u", TokenBuckets(LIMITS.replay_rate))
        client.data_received(PING * 40_000)
        assert sum(judged) < 20_000
        assert codes(transport)[-1] == 4429
        assert transport.protocol is not client, "it reads no more"


async def test_the_budget_is_told_once_and_then_ends_the_socket() -> None:
    async with asyncio.TaskGroup() as tasks:
        transport = FakeTransport()
        client = greeted(connection(tasks, transport, rate_limiter=limited()), transport)
        assert client._judge_frames(50) == 0
        assert 0 < client._judge_frames(200) < 1
        assert 0 < client._judge_frames(1) < 1
        assert codes(transport) == ["rate_limited"]
        assert client._judge_frames(10_000) == math.inf
        assert codes(transport) == ["rate_limited", 4429]


async def test_a_client_over_its_budget_is_not_read_until_it_has_paid() -> None:
    """Also if what it sends needs no answer."""
    async with asyncio.TaskGroup() as tasks:
        transport = FakeTransport()
        client = greeted(connection(tasks, transport, rate_limiter=limited()), transport)
        client.data_received(frame(PONG, b"") * 150)
        assert transport.pauses == 1
        await until_served(client)
        assert not transport.is_paused
        assert client._judge_frames(0) == 0
        assert codes(transport) == ["rate_limited"]


async def test_an_expensive_message_delays_those_behind_it() -> None:
    async with asyncio.TaskGroup() as tasks:
        transport, service = FakeTransport(), FakeService(tasks)
        client = connection(tasks, transport, rate_limiter=limited(), service=service)

        def do(made: Connection, text: str) -> None:
            assert made._judge_frames(0) == 0
            made.charge(150 if text == "0" else 0)
            made.charge_replay(1050 if text == "1" else 0)

        service.do = do
        greeted(client, transport)
        client.data_received(b"".join(frame(TEXT, b"%d" % number) for number in range(3)))
        await until_served(client)
        assert service.messages == ["0", "1", "2"]
        assert set(codes(transport)) == {"rate_limited"}


@pytest.mark.parametrize(
    "sent", [frame(9, b"x" * 125), frame(TEXT, b"x")], ids=["ping", "text"]
)
async def test_a_client_that_does_not_read_its_answers_is_not_served(sent: bytes) -> None:
    """Protocol pings, too: their pongs are answers."""
    async with asyncio.TaskGroup() as tasks:
        transport, service = FakeTransport(), FakeService(tasks)
        transport.reads = False
        service.do = lambda made, _: made.write(encode_text_frame(PONG_FRAME * 20))
        client = connection(tasks, transport, service=service)
        client.greet([], [])
        full: list[Connection] = []
        client.on_backpressure = full.append
        client.data_received(sent * 10_000)
        async with asyncio.timeout(10):
            while not client.has_backpressure:
                await asyncio.sleep(0)
        before = transport.unread
        for _ in range(100):
            await asyncio.sleep(0)
        assert transport.unread == before
        assert HIGH_WATER_BYTES < before < HIGH_WATER_BYTES + 1000
        assert transport.is_paused
        assert full == [client]
        transport.abort()


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
        large = b"x" * (2 * MAX_UNREAD_BYTES)
        client.write(large)
        assert transport.told == large
        assert not transport.is_cut
        client.write(b"x")
        assert transport.is_cut


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(CLOSE, (1001).to_bytes(2, "big")), 1000),
        (frame(TEXT, b"\xff"), 1007),
        (b"\x81\x02hi", 1002),
    ],
    ids=["close", "not UTF-8", "no mask"],
)
async def test_nothing_is_read_or_written_after_the_end(sent: bytes, code: int) -> None:
    async with asyncio.TaskGroup() as tasks:
        transport, service = FakeTransport(), FakeService(tasks)
        client = greeted(connection(tasks, transport, service=service), transport)
        client.data_received(frame(TEXT, b"before") + sent + frame(TEXT, b"after"))
        await until_served(client)
        assert service.messages == ["before"]
        assert codes(transport) == [code]
        client.send(b"late")
        client.end(1012, "late")
        transport.protocol.data_received(frame(TEXT, b"late"))
        assert (codes(transport), service.messages) == ([code], ["before"])
        assert transport.has_ended is (code == 1000), (
            "ours is the last word of an answered close"
        )
        transport.protocol.data_received(frame(CLOSE, b""))
        transport.abort()
        await asyncio.sleep(0)
        assert service.lost_connections == [client]


async def test_a_connection_is_forgotten_once_nothing_is_done_for_it_any_more() -> None:
    """What is being done may subscribe it again, so that it would be kept for ever."""
    async with asyncio.TaskGroup() as tasks:
        transport, service = FakeTransport(), FakeService(tasks)
        answered = asyncio.Event()
        service.do = lambda *_: answered.wait()
        client = greeted(connection(tasks, transport, service=service), transport)
        client.data_received(frame(TEXT, b"subscribe") + frame(TEXT, b"not handled any more"))
        while not service.messages:
            await asyncio.sleep(0)
        transport.abort()
        await asyncio.sleep(0)
        assert service.lost_connections == []
        answered.set()
        await until_served(client)
        assert service.lost_connections == [client]
        assert service.messages == ["subscribe"]


async def test_a_fault_in_handling_a_message_ends_its_connection_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with asyncio.TaskGroup() as tasks:
        transport, service = FakeTransport(), FakeService(tasks)
        service.do = lambda *_: 1 / 0
        client = greeted(connection(tasks, transport, service=service), transport)
        client.data_received(frame(TEXT, b"a"))
        await until_served(client)
        assert transport.is_cut
        await asyncio.sleep(0)
        assert service.lost_connections == [client]
        [record] = caplog.records
        assert record.getMessage() == "request failed"


async def test_a_silent_client_is_pinged_and_then_cut_off() -> None:
    async with asyncio.TaskGroup() as tasks:
        transport = FakeTransport()
        loop = asyncio.get_running_loop()
        started = loop.time()
        client = connection(tasks, transport)
        assert client.due_at - started == pytest.approx(GREETING_SECONDS, abs=1)
        greeted(client, transport)
        assert client.due_at - started == pytest.approx(PING_INTERVAL_SECONDS, abs=1)
        client.check(client.due_at)
        assert transport.told == b"\x89\x00"
        assert client.due_at - started == pytest.approx(
            PING_INTERVAL_SECONDS + PONG_SECONDS, abs=1
        )
        client.data_received(frame(PONG, b""))
        assert client.due_at - started == pytest.approx(PING_INTERVAL_SECONDS, abs=1)
        client.check(client.due_at)
        assert not transport.is_cut
        client.check(client.due_at)
        assert transport.is_cut

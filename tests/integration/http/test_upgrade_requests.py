"""Whatever way a handshake arrives, it gets the same answer, and other requests get theirs."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Final

import pytest

from shared.http import upgrades
from shared.http.connection_limits import HttpLimits
from shared.http.upgrades import MAX_HEADER_BYTES, UpgradeRequest
from tests.integration.http.connections import (
    PING,
    QUERY,
    TEXT,
    Streams,
    answered,
    bare_gateway,
    connected,
    plain_server,
    read_response,
    request,
    status,
    until_closed,
)
from tests.support.frames import frame
from tests.support.handshakes import GOOD, UPGRADE
from tests.support.inspection import connections, metrics_of, open_files
from tests.support.processes import HANG_SECONDS, WS_PATH, eventually
from tests.support.server_frames import read_frame
from tests.support.world import World

HEADERS: Final = [f"{name}: {value}" for name, value in UPGRADE.items()]
BEARER: Final = f"Authorization: Bearer {GOOD}"
HANDSHAKE: Final = request("GET", WS_PATH + QUERY, *HEADERS, BEARER)
EARLY: Final = frame(PING, b"early")


async def whole(streams: Streams) -> None:
    streams[1].write(HANDSHAKE + EARLY)


async def in_pieces(streams: Streams) -> None:
    for start in range(0, len(HANDSHAKE + EARLY), 7):
        streams[1].write((HANDSHAKE + EARLY)[start : start + 7])
        await asyncio.sleep(0)


async def after_another_request(streams: Streams) -> None:
    streams[1].write(request("GET", "/healthz"))
    assert await read_response(streams[0]) == 200
    streams[1].write(HANDSHAKE + EARLY)


async def spelled_otherwise(streams: Streams) -> None:
    path = "http://x" + WS_PATH.replace("ws", "%77s")
    streams[1].write(request("GET", path + QUERY, *HEADERS, BEARER) + EARLY)


@pytest.mark.parametrize("send", [whole, in_pieces, after_another_request, spelled_otherwise])
async def test_a_handshake_is_answered_however_it_comes(
    world: World, send: Callable[[Streams], object]
) -> None:
    await world.listener()
    gateway = await world.gateway()
    async with connected(gateway.port) as (reader, writer):
        sending = send((reader, writer))
        assert asyncio.iscoroutine(sending)
        await sending
        async with asyncio.timeout(HANG_SECONDS):
            head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ")
        told = [await read_frame(reader), await read_frame(reader)]
        assert {each.opcode for each in told} == {TEXT, 10}
        assert b"early" in {each.payload for each in told}
        lines = (await metrics_of(world, gateway)).splitlines()
        assert "neverstale_http_connections 1.0" in lines, "only the one that asks for them"
        assert await connections(world, gateway) == 1
    async with asyncio.timeout(HANG_SECONDS):
        while await connections(world, gateway):
            await asyncio.sleep(0.01)


async def test_what_is_no_handshake_is_refused_with_its_status(world: World) -> None:
    gateway = await bare_gateway(world)
    key = "Sec-WebSocket-Key: x"
    others = [line for line in HEADERS if not line.startswith("Sec-WebSocket-Key")]
    cases = {
        "no upgrade": (request("GET", WS_PATH + QUERY, "Connection: close"), 426),
        "another upgrade": (
            request("GET", WS_PATH, "Connection: Upgrade, close", "Upgrade: tcp"),
            426,
        ),
        "an old version": (
            request("GET", WS_PATH, *HEADERS[:2], "Sec-WebSocket-Version: 8"),
            426,
        ),
        "HTTP/1.0": (request("GET", WS_PATH, *HEADERS, version="1.0"), 426),
        "no key": (request("GET", WS_PATH + QUERY, *others, BEARER), 400),
        "a bad key": (request("GET", WS_PATH + QUERY, *others, key, BEARER), 400),
        "no token": (request("GET", WS_PATH + QUERY, *HEADERS), 401),
        "another method": (request("POST", WS_PATH, *HEADERS, "Content-Length: 0"), 405),
        "a body": (request("GET", WS_PATH, *HEADERS, "Content-Length: 1", body=b"x"), 400),
        "an expectation": (request("GET", WS_PATH, *HEADERS, "Expect: 100-continue"), 417),
        "no host": (HANDSHAKE.replace(b"Host: x\r\n", b""), 400),
        "garbage in a header": (HANDSHAKE.replace(b"Host: x", b"Host: x\r\nA\0b: c"), 400),
        "long headers": (
            request("GET", WS_PATH, *HEADERS, *(f"A{n}: {'x' * 8000}" for n in range(5))),
            431,
        ),
        "another path": (request("GET", WS_PATH + "x", *HEADERS, "Connection: close"), 404),
    }
    told = {name: status(await answered(gateway, sent)) for name, (sent, _) in cases.items()}
    assert told == {name: expected for name, (_, expected) in cases.items()}


async def test_a_refusal_before_the_upgrade_is_a_whole_response(world: World) -> None:
    gateway = await bare_gateway(world)
    answer = await answered(gateway, request("GET", WS_PATH + QUERY, *HEADERS))
    head, _, body = answer.partition(b"\r\n\r\n")
    fields = {
        line.partition(b": ")[0]: line.partition(b": ")[2] for line in head.split(b"\r\n")
    }
    assert fields[b"Content-Type"] == b"application/json"
    assert int(fields[b"Content-Length"]) == len(body)
    assert (fields[b"Connection"], b"GMT" in fields[b"Date"]) == (b"close", True)
    assert b'"unauthorized"' in body


async def test_a_client_that_leaves_during_its_handshake_leaves_nothing(world: World) -> None:
    await world.listener()
    gateway = await world.gateway(MAX_SOCKETS="3")
    files = open_files(gateway)
    async with AsyncExitStack() as stack:

        async def is_accepted() -> bool:
            reader, writer = await stack.enter_async_context(connected(gateway.port))
            writer.write(HANDSHAKE)
            return b" 101 " in await reader.readline()

        for _ in range(20):
            async with connected(gateway.port) as (_, writer):
                writer.write(HANDSHAKE)
                await writer.drain()
        async with asyncio.timeout(HANG_SECONDS):
            while await connections(world, gateway) or open_files(gateway) > files + 2:
                await asyncio.sleep(0.01)
            for _ in range(3):  # as many as there are slots, once all access was answered
                while not await is_accepted():
                    await asyncio.sleep(0.01)


class Waiting:
    """Answers its requests when a test says so."""

    path = WS_PATH

    def __init__(self) -> None:
        self.requests: list[UpgradeRequest] = []

    def open(self, request: UpgradeRequest) -> None:
        self.requests.append(request)


async def test_what_comes_before_the_answer_is_bounded_and_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(upgrades, "_EARLY_BYTES", 1000)

    class Next(asyncio.Protocol):
        received = 0

        def data_received(self, data: bytes) -> None:
            self.received += len(data)

    handler, protocol = Waiting(), Next()
    async with (
        plain_server(HttpLimits(), upgrades=handler) as port,
        connected(port) as (reader, writer),
    ):
        writer.write(HANDSHAKE)
        await eventually(lambda: bool(handler.requests), "it has come")
        [waiting] = handler.requests
        sent = 40 * MAX_HEADER_BYTES
        writer.write(bytes(sent))
        await eventually(lambda: waiting._is_paused, "no more is read")
        waiting.transport.write(b"answer")
        waiting.switch(protocol)
        assert await reader.readexactly(6) == b"answer"
        await eventually(lambda: protocol.received == sent, "all of it is there")


async def test_a_client_that_has_left_is_not_answered() -> None:
    handler = Waiting()
    async with plain_server(HttpLimits(), upgrades=handler) as port:
        async with connected(port) as (_, writer):
            writer.write(HANDSHAKE)
            await eventually(lambda: bool(handler.requests), "it has come")
        [waiting] = handler.requests
        await eventually(lambda: waiting.is_lost, "it has left")
        waiting.refuse(b"answer")


async def test_sockets_end_with_the_server_in_whatever_state() -> None:
    handler = Waiting()
    readers = []
    async with AsyncExitStack() as stack:
        async with plain_server(HttpLimits(), upgrades=handler) as port:
            for sent in (b"", HANDSHAKE, HANDSHAKE):
                reader, writer = await stack.enter_async_context(connected(port))
                writer.write(sent)
                readers.append(reader)
            await eventually(lambda: len(handler.requests) == 2, "they have come")
            handler.requests[1].refuse(b"answer", lambda _: False)
        for reader in readers:
            await until_closed(reader)

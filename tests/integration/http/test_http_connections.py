"""Time and size limits of HTTP connections that need no token."""

import asyncio
from collections.abc import Callable
from typing import Final

import pytest
from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from gateway.http.ticket_api import TICKET_PATH
from shared.http import connection as http_connection
from shared.http.connection_limits import HttpLimits
from shared.http.upgrades import MAX_HEADER_BYTES
from tests.integration.http.connections import (
    CHUNKED,
    QUERY,
    bare_gateway,
    connected,
    plain_server,
    read_response,
    request,
    status,
    until_closed,
)
from tests.support.handshakes import refused_plain
from tests.support.processes import WS_PATH, eventually, token
from tests.support.world import World

SLOW: Final = {
    "headers": (b"", b"GET /healthz HTTP/1.1\r\nHost: x\r\nA: "),
    "a body": (b"", request("POST", TICKET_PATH, "Content-Length: 1000")),
    "chunks": (b"", request("POST", TICKET_PATH, CHUNKED, body=b"1;x")),
    "headers of a second request": (request("GET", "/healthz"), b"GET /he"),
    "a second body": (
        request("GET", "/healthz"),
        request("POST", TICKET_PATH, "Content-Length: 1000"),
    ),
}


@pytest.mark.parametrize(("first", "slow"), SLOW.values(), ids=SLOW)
async def test_a_request_must_have_come_in_time(first: bytes, slow: bytes) -> None:
    limits = HttpLimits(request_seconds=0.5, body_paths=None)
    async with plain_server(limits) as port, connected(port) as (reader, writer):
        if first:
            writer.write(first)
            assert await read_response(reader) == 200
        writer.write(slow)
        ended = asyncio.ensure_future(until_closed(reader))
        while not ended.done():  # each byte in time, the whole not
            if not writer.is_closing():
                writer.write(b"x")
            await asyncio.sleep(0.05)
        assert ended.result() == b""


@pytest.mark.parametrize(
    ("address_of", "constant"),
    [
        (lambda peer: peer, "CLIENT_KEEPALIVE_SECONDS"),
        (lambda _: None, "PROXY_KEEPALIVE_SECONDS"),
    ],
    ids=["client", "proxy"],
)
async def test_an_idle_connection_ends(
    monkeypatch: pytest.MonkeyPatch,
    address_of: Callable[[str | None], str | None],
    constant: str,
) -> None:
    monkeypatch.setattr(http_connection, constant, 0.1)
    limits = HttpLimits(address_of=address_of)
    async with plain_server(limits) as port, connected(port) as (reader, writer):
        writer.write(request("GET", "/"))
        assert await read_response(reader) == 200
        assert await until_closed(reader) == b""


@pytest.mark.parametrize("is_closing", [False, True], ids=["kept", "closing"])
async def test_an_answer_that_nobody_reads_does_not_hold_its_connection(
    monkeypatch: pytest.MonkeyPatch, is_closing: bool
) -> None:
    monkeypatch.setattr(http_connection, "PROXY_KEEPALIVE_SECONDS", 0.1)
    protocols: list[RequestHandler] = []

    async def answer(request: web.Request) -> web.Response:
        protocols.append(request.protocol)
        if is_closing:
            assert request.transport is not None
            request.transport.write(bytes(50_000_000))
            request.transport.close()
        return web.Response(body=bytes(50_000_000))

    async with plain_server(HttpLimits(), answer) as port, connected(port) as (_, writer):
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(request("GET", "/"))
        await eventually(lambda: bool(protocols) and not protocols[0].connected, "it is cut")


async def test_headers_are_bounded_for_each_request_of_a_connection(world: World) -> None:
    gateway = await bare_gateway(world)
    async with connected(gateway.port) as (reader, writer):
        for _ in range(3):
            padding = "x" * (MAX_HEADER_BYTES // 2)
            writer.write(request("GET", "/healthz", f"A: {padding}"))
            assert await read_response(reader) == 200
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n")
        writer.write(b"".join(b"A%d: %s\r\n" % (n, b"x" * 1000) for n in range(40)))
        assert status(await until_closed(reader)) == 431


async def test_a_page_without_tls_has_no_cookie_where_the_gateway_has_tls(world: World) -> None:
    await world.listener()
    gateway = await world.gateway()
    headers = {"Cookie": f"access_token={token(world.ada)}", "Host": "app.test"}
    for origin, proto, expected in (
        ("http://app.test", "https", 403),
        ("ftp://app.test", "http", 403),
        ("https://app.test", "https", 101),
        ("https://app.test", "http", 101),
        ("http://app.test", "http", 101),
    ):
        given = {**headers, "Origin": origin, "X-Forwarded-Proto": proto}
        if expected == 403:
            told = await refused_plain(world, gateway, QUERY, given)
            assert told == (403, "forbidden"), origin
        else:
            async with world.http.ws_connect(gateway.url + WS_PATH + QUERY, headers=given):
                pass

"""What anybody on the network may take without a token: connections, headers, bodies, and
sockets that are refused.
"""

import asyncio
import gzip
import resource
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Final, TypeAlias

import aiohttp
import pytest
from aiohttp import web
from aiohttp.typedefs import Handler
from aiohttp.web_protocol import RequestHandler

from deploy.dev.servers import free_port
from gateway.http.admin_api import DISCONNECT_PATH
from gateway.http.ticket_api import TICKET_PATH
from gateway.transport import connection
from gateway.transport.clients import V1Client
from shared.http import connection as http_connection
from shared.http.connection import MAX_BODY_BYTES, MAX_HEADER_BYTES
from shared.http.connection_limits import HttpLimits
from shared.http.server import serve
from shared.protocol.close_codes import FORBIDDEN
from tests.support.changes import assert_flows
from tests.support.demo_data import APOLLO
from tests.support.frames import frame
from tests.support.handshakes import UPGRADE, handshake, refused_plain
from tests.support.inspection import metrics_of, open_files
from tests.support.processes import HANG_SECONDS, WS_PATH, Part, eventually, token
from tests.support.server_frames import read_frame
from tests.support.world import World

Streams: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]
QUERY: Final = f"?project_id={APOLLO}"
OTHERS: Final = "10.0.0.0/8"  # TRUSTED_PROXIES without the tests' own address: it is counted
CLOSE, PING, PONG, TEXT = 8, 9, 10, 1
UNREAD_BYTES: Final = 4 * 2**20  # more than kernels hold of what nobody reads


async def serving(world: World, part: Part) -> Part:
    """Wait until it answers at all; no listener needs to run for that."""
    async with asyncio.timeout(HANG_SECONDS):
        while True:
            try:
                async with world.http.get(f"{part.url}/healthz") as response:
                    assert response.status == 200
                    return part
            except aiohttp.ClientError:
                await asyncio.sleep(0.05)


async def bare_gateway(world: World, **more: str) -> Part:
    return await serving(world, await world.gateway(ready=False, **more))


async def few_descriptors(world: World, soft: int, hard: int, **more: str) -> Part:
    port = free_port()
    part = Part("gateway", world.environment(PORT=str(port), **more), port)
    part.before = partial(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
    world.parts.append(part)
    await part.start()
    return part


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Streams]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def until_closed(reader: asyncio.StreamReader) -> bytes:
    """All that comes before the other side closes."""
    received = b""
    async with asyncio.timeout(HANG_SECONDS):
        try:
            while data := await reader.read(65536):
                received += data
        except ConnectionResetError:
            pass
    return received


async def answered(part: Part, request: bytes) -> bytes:
    """The answer to a request after which the connection is closed."""
    async with connected(part.port) as (reader, writer):
        writer.write(request)
        return await until_closed(reader)


def request(
    method: str, path: str, *headers: str, body: bytes = b"", version: str = "1.1"
) -> bytes:
    lines = [f"{method} {path} HTTP/{version}", "Host: x", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


async def read_response(reader: asyncio.StreamReader) -> int:
    """The status of one response on a connection that stays open."""
    async with asyncio.timeout(HANG_SECONDS):
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        [length] = [line for line in head.split("\r\n") if line.startswith("content-length:")]
        await reader.readexactly(int(length.partition(":")[2]))
    return int(head.split(" ", 2)[1])


def refused_handshake() -> bytes:
    """Of a v1 client with a bad token."""
    headers = {**UPGRADE, "Sec-WebSocket-Protocol": "neverstale.v1, bearer.bad"}
    return request("GET", WS_PATH + QUERY, *(f"{name}: {headers[name]}" for name in headers))


async def send_much(writer: asyncio.StreamWriter, data: bytes) -> int:
    """Send until the connection ends, and return how many bytes were taken."""
    taken = 0
    try:
        async with asyncio.timeout(HANG_SECONDS):
            while taken < 4 * UNREAD_BYTES:
                writer.write(data)
                await writer.drain()
                taken += len(data)
    except ConnectionError:
        pass
    return taken


def small_buffers(writer: asyncio.StreamWriter) -> None:
    sock: socket.socket = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
    writer.transport.set_write_buffer_limits(high=0)


async def test_a_refused_socket_is_not_read_and_holds_no_slot(world: World) -> None:
    await world.listener()
    gateway = await world.gateway(MAX_SOCKETS="1", MAX_FAILED_AUTHENTICATIONS="0")
    async with connected(gateway.port) as (reader, writer):
        writer.write(refused_handshake() + frame(PING, b"early"))
        assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
        told = await read_frame(reader)
        assert (told.opcode, b'"unauthorized"' in told.payload) == (TEXT, True)
        told = await read_frame(reader)
        assert (told.opcode, told.code) == (CLOSE, 4401)
        async with world.client(gateway, world.apollo, world.ada) as client:
            small_buffers(writer)
            assert await send_much(writer, frame(PONG, b"x" * 125) * 500) < UNREAD_BYTES
            await assert_flows(world, client)


async def test_a_refused_socket_ends_as_soon_as_its_client_has_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "LINGER_SECONDS", 1000.0)
    async with asyncio.TaskGroup() as tasks:

        async def answer(request: web.Request) -> web.StreamResponse:
            refused = await V1Client.accept(request, tasks, max_message_bytes=99)
            await refused.refuse(FORBIDDEN)
            return refused.response

        async with plain_server(HttpLimits(), answer) as port:
            for end in ("answer", "end of file"):
                async with connected(port) as (reader, writer):
                    writer.write(refused_handshake() + frame(TEXT, b"x" * 99))
                    await reader.readuntil(b"\r\n\r\n")
                    assert (await read_frame(reader)).opcode == TEXT
                    assert (await read_frame(reader)).code == 4403
                    writer.write(frame(PING, b"x"))
                    if end == "answer":
                        writer.write(frame(CLOSE, (4403).to_bytes(2, "big") + b"why"))
                    else:
                        writer.write_eof()
                    async with asyncio.timeout(HANG_SECONDS):
                        assert await reader.read() == b"", end


async def test_sockets_that_the_gateway_ends_are_not_read(world: World) -> None:
    await world.listener()
    gateway = await world.gateway(MAX_MESSAGES_PER_SECOND="1", ADMIN_KEY="k" * 32)
    for end in ("flood", "disconnect"):
        async with connected(gateway.port) as (reader, writer):
            writer.write(handshake())
            await reader.readuntil(b"\r\n\r\n")
            assert (await read_frame(reader)).opcode == TEXT
            if end == "disconnect":
                async with world.http.post(
                    gateway.url + DISCONNECT_PATH,
                    json={"user_id": world.ada},
                    headers={"Authorization": f"Bearer {'k' * 32}"},
                ) as response:
                    assert response.status == 200
                code = 4401
            else:
                writer.write(frame(PING, b"") * 600)  # more than a page with 100 projects may
                code = 4429
            told = await read_frame(reader)
            while told.opcode != CLOSE:
                told = await read_frame(reader)
            assert told.code == code, end
            small_buffers(writer)
            assert await send_much(writer, frame(PONG, b"x" * 125) * 500) < UNREAD_BYTES, end


GZIPPED: Final = gzip.compress(bytes(10_000_000))
GZIP: Final = ("Content-Encoding: gzip", f"Content-Length: {len(GZIPPED)}")
CHUNKED: Final = "Transfer-Encoding: chunked"
UPGRADES: Final = tuple(f"{name}: {value}" for name, value in UPGRADE.items())
LONG: Final = f"Content-Length: {MAX_BODY_BYTES + 1}"
EXPECT: Final = "Expect: 100-continue"
# each is answered, and then the connection is closed, though no more of the body comes
REFUSED_BODIES: Final = {
    "gzip to tickets": (request("POST", TICKET_PATH, *GZIP, body=GZIPPED), 415),
    "gzip to nowhere": (request("POST", "/nowhere", *GZIP, body=GZIPPED), 404),
    "gzip to readyz": (request("GET", "/readyz", *GZIP, body=GZIPPED), 400),
    "too long": (request("POST", TICKET_PATH, LONG), 413),
    "too long for an admin": (request("POST", DISCONNECT_PATH, LONG), 413),
    "long and read by nobody": (request("POST", "/nowhere", "Content-Length: 9999999"), 404),
    "too many chunks": (
        request("POST", TICKET_PATH, CHUNKED, body=(b"1000\r\n" + bytes(4096) + b"\r\n") * 5),
        413,
    ),
    "a coding below the chunks": (
        request("POST", TICKET_PATH, "Transfer-Encoding: gzip, chunked"),
        400,
    ),
    "chunks that are none": (request("POST", TICKET_PATH, CHUNKED, body=b"1\r\nxyz\r\n"), 400),
    "an expectation that nobody meets": (
        request("POST", TICKET_PATH, "Expect: a miracle", "Content-Length: 5"),
        417,
    ),
    "Expect where no body is read": (
        request("POST", "/nowhere", EXPECT, "Content-Length: 5"),
        417,
    ),
    "an upgrade with a body": (
        request("GET", WS_PATH + QUERY, *UPGRADES, "Content-Length: 5"),
        400,
    ),
    **{
        f"{method} {path} with a body": (request(method, path, "Content-Length: 5"), 400)
        for method in ("GET", "HEAD", "OPTIONS")
        for path in (WS_PATH, TICKET_PATH, DISCONNECT_PATH, "/metrics", "/healthz", "/nowhere")
    },
    "GET with chunks": (request("GET", "/readyz", CHUNKED), 400),
    "CONNECT": (request("CONNECT", "x:1"), 400),
    "pipelined": (request("GET", "/healthz") * 40, 200),
    "pipelined in part": (request("GET", "/healthz") + b"GET /he", 200),
    "no HTTP": (b"\x16\x03\x01\x00\x00\r\n\r\n", 400),
    "thousands of headers": (request("GET", "/healthz", *["A: b"] * 2000), 400),
    "a long URL": (request("GET", "/" + "x" * 9000), 400),
    "large headers": (
        request("GET", "/healthz", *(f"A{number}: {'x' * 8000}" for number in range(9))),
        431,
    ),
    "a declined upgrade": (
        request("GET", WS_PATH + QUERY, *UPGRADES, body=frame(PING, b"early")),
        401,
    ),
    "an upgrade by HEAD": (request("HEAD", WS_PATH + QUERY, *UPGRADES), 426),
    "an upgrade by POST": (request("POST", WS_PATH + QUERY, *UPGRADES), 405),
    "an upgrade by HTTP/1.0": (
        request("GET", WS_PATH + QUERY, *UPGRADES, version="1.0"),
        426,
    ),
}


async def test_requests_that_cost_more_than_they_should_are_refused(world: World) -> None:
    gateway = await bare_gateway(world, ADMIN_KEY="k" * 32, HANDSHAKE_SECONDS="0")
    told = {}
    for name, (sent, _) in REFUSED_BODIES.items():
        answer = await answered(gateway, sent)
        told[name] = status(answer) if answer else None
        assert answer.count(b"HTTP/1.") == 1, name
    assert told == {name: expected for name, (_, expected) in REFUSED_BODIES.items()}


async def test_bodies_are_read_where_they_are_expected(world: World) -> None:
    await world.listener()
    gateway = await world.gateway()
    body = b'{"project_id": "%s"}' % world.apollo.encode()
    bearer = f"Authorization: Bearer {token(world.ada)}"
    length = f"Content-Length: {len(body)}"
    chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    async with connected(gateway.port) as (reader, writer):
        for _ in range(2):  # on one connection
            writer.write(request("POST", TICKET_PATH, bearer, length, body=body))
            assert await read_response(reader) == 201
            writer.write(request("POST", TICKET_PATH, bearer, CHUNKED, body=chunks))
            assert await read_response(reader) == 201
        writer.write(request("POST", TICKET_PATH, bearer, length, EXPECT))
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(body)
        assert await read_response(reader) == 201
        writer.write(request("GET", "/healthz"))
        assert await read_response(reader) == 200


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


async def echo(request: web.Request) -> web.Response:
    return web.Response(body=await request.read())


@asynccontextmanager
async def plain_server(limits: HttpLimits, answer: Handler = echo) -> AsyncIterator[int]:
    """Our server in this process, with one endpoint."""
    app, port = web.Application(), free_port()
    app.add_routes([web.route("*", "/{path:.*}", answer)])
    running = asyncio.ensure_future(
        serve(app, "127.0.0.1", port, setting="PORT", limits=limits)
    )
    async with asyncio.timeout(HANG_SECONDS):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                await asyncio.sleep(0.01)
            else:
                writer.transport.abort()
                break
    try:
        yield port
    finally:
        running.cancel()
        await asyncio.wait([running])


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


async def open_idle(port: int, number: int, stack: AsyncExitStack) -> list[Streams]:
    """Connections that had one request, and then stay silent."""
    idle = []
    for _ in range(number):
        reader, writer = await stack.enter_async_context(connected(port))
        writer.write(request("GET", "/healthz"))
        idle.append((reader, writer))
    for reader, _ in idle:
        assert await read_response(reader) == 200
    return idle


async def test_idle_connections_lock_nobody_out(world: World) -> None:
    await world.listener()
    gateway = await few_descriptors(world, 100, 200)
    await gateway.ready(world.http)
    async with AsyncExitStack() as stack, asyncio.timeout(2 * HANG_SECONDS):
        first = await open_idle(gateway.port, 100, stack)
        await open_idle(gateway.port, 200, stack)
        async with world.client(gateway, world.apollo, world.ada) as client:
            await assert_flows(world, client)
        for reader, _ in first:  # who waited longest had to go
            assert await reader.read() == b""
    assert gateway.logged("descriptor limit", soft=200)
    assert gateway.logged(
        "too few file descriptors: raise the hard limit, or lower MAX_SOCKETS"
    )


async def test_the_soft_descriptor_limit_is_raised(world: World) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    gateway = await few_descriptors(
        world, 100, hard, MAX_SOCKETS="10", MAX_HTTP_CONNECTIONS="5"
    )
    await serving(world, gateway)
    assert gateway.process is not None
    assert resource.prlimit(gateway.process.pid, resource.RLIMIT_NOFILE) == (hard, hard)
    assert not [line for line in gateway.lines if line["level"] == "warning"]


async def test_connections_are_counted_in_all(world: World) -> None:
    gateway = await bare_gateway(world, MAX_HTTP_CONNECTIONS="10")
    async with AsyncExitStack() as stack:
        [(first, _), *_] = await open_idle(gateway.port, 10, stack)
        [(reader, writer)] = await open_idle(gateway.port, 1, stack)
        assert await until_closed(first) == b""
        writer.write(request("GET", "/healthz"))
        assert await read_response(reader) == 200
        lines = (await metrics_of(world, gateway)).splitlines()
        assert "neverstale_http_connections 10.0" in lines
        assert [
            line
            for line in lines
            if line.startswith('neverstale_http_cut_total{reason="full"}')
        ]


async def test_connections_are_counted_by_address_unless_they_are_a_proxys(
    world: World,
) -> None:
    counted = await bare_gateway(world, MAX_SOCKETS_PER_ADDRESS="3", TRUSTED_PROXIES=OTHERS)
    proxied = await bare_gateway(
        world, MAX_SOCKETS_PER_ADDRESS="3", TRUSTED_PROXIES="127.0.0.1"
    )
    unnamed = await bare_gateway(world, MAX_SOCKETS_PER_ADDRESS="3")
    async with AsyncExitStack() as stack:
        [(first, _), *others] = await open_idle(counted.port, 3, stack)
        await open_idle(counted.port, 1, stack)
        assert await until_closed(first) == b""
        assert not others[-1][0].at_eof()
        for gateway in (proxied, unnamed):
            idle = await open_idle(gateway.port, 9, stack)
            for reader, writer in idle:
                writer.write(request("GET", "/healthz"))
                assert await read_response(reader) == 200


async def test_lingering_refused_sockets_are_bounded(world: World) -> None:
    gateway = await bare_gateway(
        world, MAX_HTTP_CONNECTIONS="5", MAX_FAILED_AUTHENTICATIONS="0"
    )
    async with AsyncExitStack() as stack:
        for _ in range(40):
            reader, writer = await stack.enter_async_context(connected(gateway.port))
            writer.write(refused_handshake())
            await reader.readuntil(b"\r\n\r\n")
        assert open_files(gateway) < 40


async def test_the_health_port_has_the_same_limits(world: World) -> None:
    listener = await world.listener()
    idle_connections = HttpLimits().max_connections
    async with AsyncExitStack() as stack:
        [(first, _), *_] = await open_idle(listener.port, idle_connections + 1, stack)
        assert await until_closed(first) == b""
    for sent, expected in (
        (request("GET", "/metrics", *(f"A{n}: {'x' * 8000}" for n in range(9))), 431),
        (request("POST", "/metrics", *GZIP, body=GZIPPED), 405),
        (request("GET", "/readyz", "Content-Length: 5"), 400),
    ):
        assert status(await answered(listener, sent)) == expected


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

"""Raw connections to a gateway, and servers with small limits, for tests of HTTP."""

import asyncio
import gzip
import resource
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Final, TypeAlias

import aiohttp
from aiohttp import web
from aiohttp.typedefs import Handler

from deploy.dev.servers import free_port
from shared.http.connection_limits import HttpLimits
from shared.http.server import serve
from shared.http.upgrades import UpgradeHandler
from tests.support.demo_data import APOLLO
from tests.support.handshakes import UPGRADE
from tests.support.processes import HANG_SECONDS, WS_PATH, Part
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


GZIPPED: Final = gzip.compress(bytes(10_000_000))
GZIP: Final = ("Content-Encoding: gzip", f"Content-Length: {len(GZIPPED)}")
CHUNKED: Final = "Transfer-Encoding: chunked"


async def echo(request: web.Request) -> web.Response:
    return web.Response(body=await request.read())


@asynccontextmanager
async def plain_server(
    limits: HttpLimits, answer: Handler = echo, *, upgrades: UpgradeHandler | None = None
) -> AsyncIterator[int]:
    """Our server in this process, with one endpoint."""
    app, port = web.Application(), free_port()
    app.add_routes([web.route("*", "/{path:.*}", answer)])
    running = asyncio.ensure_future(
        serve(app, "127.0.0.1", port, setting="PORT", limits=limits, upgrades=upgrades)
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

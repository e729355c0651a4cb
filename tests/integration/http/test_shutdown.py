"""A process that ends lets its clients go, so that they come back elsewhere."""

import asyncio

import aiohttp
from aiohttp import web

from deploy.dev.servers import free_port
from shared.http.server import serve
from tests.support.processes import HANG_SECONDS


async def test_a_socket_that_nobody_closed_ends_with_the_server() -> None:
    async def deaf(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await asyncio.Event().wait()
        return socket

    app, port = web.Application(), free_port()
    app.add_routes([web.get("/", deaf)])
    serving = asyncio.ensure_future(serve(app, "127.0.0.1", port, setting="PORT"))
    async with asyncio.timeout(HANG_SECONDS), aiohttp.ClientSession() as http:
        socket = None
        while socket is None:
            try:
                socket = await http.ws_connect(f"http://127.0.0.1:{port}/")
            except aiohttp.ClientConnectorError:
                await asyncio.sleep(0.01)
        serving.cancel()
        await socket.receive()
        assert socket.closed
        await asyncio.wait([serving])

"""An HTTP proxy with the faults of badly configured ones. It passes no WebSockets."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web

_HOP_BY_HOP = ("connection", "upgrade", "host", "content-length", "transfer-encoding")


@asynccontextmanager
async def proxying(
    target: str,
    *,
    overwrites: Mapping[str, str] | None = None,
    adds: Mapping[str, str] | None = None,
) -> AsyncIterator[str]:
    """Yield the URL of a proxy for *target*.

    It *overwrites* headers of requests, and *adds* headers to responses.
    """
    async with aiohttp.ClientSession() as http:

        async def forward(request: web.Request) -> web.Response:
            headers = {
                name: value
                for name, value in request.headers.items()
                if name.lower() not in _HOP_BY_HOP
            }
            async with http.request(
                request.method,
                f"{target}{request.path_qs}",
                headers={**headers, **(overwrites or {})},
                data=await request.read(),
            ) as response:
                passed = {
                    name: value
                    for name, value in response.headers.items()
                    if name.lower() not in _HOP_BY_HOP
                }
                return web.Response(
                    status=response.status,
                    body=await response.read(),
                    headers={**passed, **(adds or {})},
                )

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", forward)
        runner = web.AppRunner(app)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()

"""An HTTP proxy with the faults of badly configured ones. It passes no WebSockets."""

import zlib
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web

_HOP_BY_HOP = ("connection", "upgrade", "host", "content-length", "transfer-encoding")
_GZIP = 16 + zlib.MAX_WBITS


@asynccontextmanager
async def proxying(
    target: str,
    *,
    overwrites: Mapping[str, str] | None = None,
    adds: Mapping[str, str] | None = None,
    removes: Collection[str] = (),
    compresses: bool = False,
) -> AsyncIterator[str]:
    """Yield the URL of a proxy for *target*.

    It *overwrites* and *removes* headers of requests, and *adds* headers to responses. If it
    *compresses*, it passes on what its compressor has put out.
    """
    async with aiohttp.ClientSession() as http:

        async def forward(request: web.Request) -> web.StreamResponse:
            headers = {
                name: value
                for name, value in request.headers.items()
                if name.lower() not in (*_HOP_BY_HOP, *removes)
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
                encoding = {"Content-Encoding": "gzip"} if compresses else {}
                answer = web.StreamResponse(
                    status=response.status, headers={**passed, **encoding, **(adds or {})}
                )
                compressor = zlib.compressobj(wbits=_GZIP)
                pack: Callable[[bytes], bytes] = compressor.compress if compresses else bytes
                await answer.prepare(request)
                async for piece in response.content.iter_any():
                    await answer.write(pack(piece))
                await answer.write(compressor.flush() if compresses else b"")
                return answer

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", forward)
        runner = web.AppRunner(app, handler_cancellation=True)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()

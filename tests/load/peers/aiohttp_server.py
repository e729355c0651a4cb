"""aiohttp as its documentation broadcasts: ``send_str`` for each subscriber of a channel."""

import asyncio
import sys
from collections import defaultdict

import uvloop
from aiohttp import web


async def main(port: int, control_port: int) -> None:
    channels: dict[str, set[web.WebSocketResponse]] = defaultdict(set)

    async def subscribe(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        subscribers = channels[request.match_info["channel"]]
        subscribers.add(socket)
        try:
            async for _ in socket:
                pass
        finally:
            subscribers.discard(socket)
        return socket

    async def publish(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            channel, size = line.decode().split()
            text = (await reader.readexactly(int(size))).decode()
            await asyncio.gather(*(socket.send_str(text) for socket in channels[channel]))
        writer.close()

    app = web.Application()
    app.add_routes([web.get("/{channel}", subscribe)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=4096).start()
    await asyncio.start_server(publish, "127.0.0.1", control_port)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2])))

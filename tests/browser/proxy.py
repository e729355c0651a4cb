"""A network between browser and gateways that can go off.

The browser's own offline switch leaves open sockets alive.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from deploy.dev.servers import free_port

_CHUNK_BYTES: Final = 65536
_RESET_AT_CLOSE: Final = struct.pack("ii", 1, 0)  # SO_LINGER for no time, socket(7)


class Proxy:
    """Passes connections on to the first of its gateways that takes them."""

    def __init__(self, gateway_ports: list[int]) -> None:
        self.port = free_port()
        self.gateway_ports = gateway_ports
        self.links: dict[asyncio.StreamWriter, int] = {}  # the browser's end -> gateway's port
        self._server: asyncio.Server | None = None

    async def on(self) -> None:
        """Take connections (again)."""
        self._server = await asyncio.start_server(self._link, "127.0.0.1", self.port)

    async def off(self) -> None:
        """Reset what is open, and refuse what is new."""
        assert self._server is not None
        self._server.close()
        for writer in list(self.links):
            link: socket.socket = writer.get_extra_info("socket")
            link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
            writer.transport.abort()
        await self._server.wait_closed()

    async def _link(
        self, from_browser: asyncio.StreamReader, to_browser: asyncio.StreamWriter
    ) -> None:
        for port in self.gateway_ports:
            try:
                from_gateway, to_gateway = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                continue
            break
        else:
            to_browser.transport.abort()
            return
        self.links[to_browser] = port
        try:
            async with asyncio.TaskGroup() as passing:
                passing.create_task(_pass(from_browser, to_gateway))
                passing.create_task(_pass(from_gateway, to_browser))
        finally:
            del self.links[to_browser]


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while chunk := await reader.read(_CHUNK_BYTES):
            writer.write(chunk)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def proxied(gateway_ports: list[int]) -> AsyncIterator[Proxy]:
    """A proxy that is on."""
    proxy = Proxy(gateway_ports)
    await proxy.on()
    try:
        yield proxy
    finally:
        await proxy.off()

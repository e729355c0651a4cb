"""A TCP proxy whose connections can be cut or stalled, for tests of failing networks."""

import asyncio
import socket
from functools import partial
from typing import Final, cast

from deploy.dev.servers import free_port

# Small buffers: a peer that does not read soon blocks the peer that writes.
_BUFFER_BYTES: Final = 16 * 1024
_POLL_SECONDS: Final = 0.01


class Proxy:
    """Listen on ``port`` and forward to the first of ``target_ports`` that accepts.

    Changing ``target_ports`` affects new connections only.
    """

    def __init__(self, *target_ports: int) -> None:
        self.port = free_port()
        self.target_ports = list(target_ports)
        self.refuses_upgrades = False  # of new connections, as networks without WebSockets do
        self._dialing = set[asyncio.Task[None]]()
        self._ends: set[_End] = set()
        self._passing = asyncio.Event()
        self._passing.set()
        self._server: asyncio.Server | None = None

    @property
    def is_passing(self) -> bool:
        return self._passing.is_set()

    @property
    def connected_ports(self) -> list[int]:
        """The target port of each open connection."""
        return [end.target_port for end in self._ends if end.target_port is not None]

    async def start(self) -> None:
        """Accept connections, for the first time or after ``close``."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _End(self), "127.0.0.1", self.port)

    async def close(self) -> None:
        """Refuse new connections and end those that are open."""
        if self._server is not None:
            self._server.close()
        for task in self._dialing:
            task.cancel()
        while self._ends:
            self.cut()
            await asyncio.sleep(_POLL_SECONDS)

    def cut(self) -> None:
        """End all connections at once. New ones are accepted."""
        for end in list(self._ends):
            end.abort()

    def swallow(self) -> None:
        """Forward nothing any more, not even that a side has closed: a black hole."""
        self._passing.clear()
        for end in self._ends:
            end.flow()

    def heal(self) -> None:
        """Forward everything again, including what was sent meanwhile (as TCP retransmits)."""
        self._passing.set()
        for end in self._ends:
            end.flow()

    def began(self, end: "_End") -> None:
        """Connect a newly accepted *end* to a target."""
        self._ends.add(end)
        if end.peer is None:
            task = asyncio.get_running_loop().create_task(self._dial(end))
            self._dialing.add(task)
            task.add_done_callback(self._dialing.discard)

    def ended(self, end: "_End") -> None:
        self._ends.discard(end)

    async def _dial(self, near: "_End") -> None:
        await self._passing.wait()
        far = await self._connect(near)
        if far is None:
            near.abort()
        elif near.is_over:
            far.abort()
        else:
            near.peer = far
            near.flow()
            far.flow()

    async def _connect(self, near: "_End") -> "_End | None":
        """Return the far end, at the first target that accepts; None if none does."""
        loop = asyncio.get_running_loop()
        for port in self.target_ports:
            try:
                _, far = await loop.create_connection(
                    partial(_End, self, near, port), "127.0.0.1", port
                )
            except OSError:
                continue
            return far
        return None


class _End(asyncio.Protocol):
    """One of a connection's two ends."""

    def __init__(
        self, proxy: Proxy, peer: "_End | None" = None, target_port: int | None = None
    ) -> None:
        self.peer = peer
        self.target_port = target_port  # None at the end that was accepted
        self.is_over = False
        self._proxy = proxy
        self._transport: asyncio.Transport | None = None
        self._peer_is_full = False
        self._is_reading = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(_BUFFER_BYTES)
        kernel: socket.socket = transport.get_extra_info("socket")
        kernel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
        kernel.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
        kernel.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # before Python 3.11.4, a pause here is ignored (python/cpython#103607)
        asyncio.get_running_loop().call_soon(self.flow)
        self._proxy.began(self)

    def flow(self) -> None:
        """Read only while the other end can take what is read."""
        wanted = self.peer is not None and not self._peer_is_full and self._proxy.is_passing
        if self._transport is None or self.is_over or wanted == self._is_reading:
            return
        self._is_reading = wanted
        if wanted:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        is_near = self.target_port is None
        if is_near and self._proxy.refuses_upgrades and b"Upgrade: websocket" in data:
            self.abort()
            return
        if self.peer is not None and self.peer._transport is not None:
            self.peer._transport.write(data)

    def pause_writing(self) -> None:
        self._tell_peer(is_full=True)

    def resume_writing(self) -> None:
        self._tell_peer(is_full=False)

    def _tell_peer(self, *, is_full: bool) -> None:
        if self.peer is not None:
            self.peer._peer_is_full = is_full
            self.peer.flow()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_over = True
        self._proxy.ended(self)
        if self.peer is not None and self.peer._transport is not None:
            if exc is None:
                self.peer._transport.close()
            else:
                self.peer.abort()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

"""A TCP link that can be cut, or swallow everything, and heal."""

import asyncio
import socket
from typing import Final, cast

from deploy.dev.servers import free_port

# Little is kept on the way, so that a peer that does not read is soon felt by the other.
_BUFFER_BYTES: Final = 16 * 1024
_POLL_SECONDS: Final = 0.01


class Proxy:
    """Listens on ``port`` and passes on to ``target_port`` of this machine."""

    def __init__(self, target_port: int, tasks: asyncio.TaskGroup) -> None:
        self.port = free_port()
        self.target_port = target_port
        self._tasks = tasks
        self._ends: set[_End] = set()
        self._passing = asyncio.Event()
        self._passing.set()
        self._server: asyncio.Server | None = None

    @property
    def is_passing(self) -> bool:
        return self._passing.is_set()

    async def start(self) -> None:
        """Listen; returns when connections are taken."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _End(self), "127.0.0.1", self.port)

    async def close(self) -> None:
        """Take no more connections, and end those that there are."""
        if self._server is not None:
            self._server.close()
        while self._ends:
            self.cut()
            await asyncio.sleep(_POLL_SECONDS)

    def cut(self) -> None:
        """End all connections at once; new ones are taken."""
        for end in list(self._ends):
            end.abort()

    def swallow(self) -> None:
        """Pass nothing on any more, not even that a side has closed: a black hole."""
        self._passing.clear()
        for end in self._ends:
            end.flow()

    def heal(self) -> None:
        """Pass everything on again, also what was sent meanwhile (as TCP sends again)."""
        self._passing.set()
        for end in self._ends:
            end.flow()

    def began(self, end: "_End") -> None:
        """Somebody has connected: connect further."""
        self._ends.add(end)
        if end.peer is None:
            self._tasks.create_task(self._dial(end))

    def ended(self, end: "_End") -> None:
        self._ends.discard(end)

    async def _dial(self, near: "_End") -> None:
        await self._passing.wait()
        far = _End(self, near)
        try:
            await asyncio.get_running_loop().create_connection(
                lambda: far, "127.0.0.1", self.target_port
            )
        except OSError:
            near.abort()
            return
        if near.is_over:
            far.abort()
            return
        near.peer = far
        near.flow()
        far.flow()


class _End(asyncio.Protocol):
    """One of a connection's two ends."""

    def __init__(self, proxy: Proxy, peer: "_End | None" = None) -> None:
        self.peer = peer
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
        self.flow()
        self._proxy.began(self)

    def flow(self) -> None:
        """Read if what is read can go on to the other end."""
        wanted = self.peer is not None and not self._peer_is_full and self._proxy.is_passing
        if self._transport is None or self.is_over or wanted == self._is_reading:
            return
        self._is_reading = wanted
        if wanted:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def data_received(self, data: bytes) -> None:
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

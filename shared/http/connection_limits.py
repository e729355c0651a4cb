"""Limits of the HTTP server's connections, and their enforcement."""

import asyncio
from collections.abc import Callable, Collection, Hashable
from dataclasses import dataclass
from typing import Final, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge

from shared.http.connection_slots import ConnectionSlots

REQUEST_SECONDS: Final = 10.0


class Connection(Hashable, Protocol):
    """A connection that can be aborted."""

    def abort(self) -> None: ...


def peer_of(transport: asyncio.BaseTransport | None) -> str | None:
    """Return the address at the other end of a TCP connection, if it is known."""
    peer = transport and transport.get_extra_info("peername")
    return peer[0] if isinstance(peer, tuple) else None


def _unknown(_: str | None) -> str | None:
    return None


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """Limits of connections while they are not WebSockets; 0: no limit."""

    max_connections: int = 256
    max_per_address: int = 0
    max_sockets: int = 0  # WebSockets in addition, which need descriptors, too
    request_seconds: float = REQUEST_SECONDS  # for a whole request, from its first byte
    # Maps a peer's address to the one it is counted under; None: many clients may share it.
    address_of: Callable[[str | None], str | None] = _unknown
    body_paths: Collection[str] | None = ()  # where a body is read; None: everywhere


class HttpConnectionLimiter:
    """Counts the connections of a server, and aborts those over its limits."""

    def __init__(
        self,
        limits: HttpLimits,
        max_open: int | None,
        registry: CollectorRegistry | None = None,
    ) -> None:
        """Allow *max_open* open connections, including WebSockets; None: no limit."""
        self.limits = limits
        self.slots: ConnectionSlots[Connection] = ConnectionSlots(
            limits.max_connections, limits.max_per_address
        )
        self._max_open = max_open
        self._open: set[asyncio.Transport] = set()
        self._cut = Counter(
            "neverstale_http_cut_total",
            "Connections aborted before or between requests",
            ["reason"],
            registry=registry,
        )
        for reason in ("full", "slow"):
            self._cut.labels(reason)
        Gauge(
            "neverstale_http_connections",
            "Connections that are not WebSockets",
            registry=registry,
        ).set_function(lambda: len(self.slots))

    def opened(self, transport: asyncio.Transport) -> str | None:
        """Count a TCP connection, whatever protocol it will have, until it is ``closed``.

        Returns the address to count it under.
        """
        self._open.add(transport)
        return self.limits.address_of(peer_of(transport))

    def closed(
        self, transport: asyncio.Transport, connection: Connection | None = None
    ) -> None:
        """Forget a TCP connection, and its last protocol, if ``wait`` may have counted it."""
        self._open.discard(transport)
        if connection is not None:
            self.slots.leave(connection)

    async def abort_all(self) -> None:
        """Abort all connections, and return when their protocols know it."""
        for transport in list(self._open):
            transport.abort()
        await asyncio.sleep(0)  # transports call ``connection_lost`` in the loop's next turn

    def wait(self, connection: Connection, address: str | None) -> None:
        """Note that it waits for its client, and abort one connection if there are too many."""
        is_full = self._max_open is not None and len(self._open) > self._max_open
        victim = self.slots.wait(connection, address, is_full=is_full)
        if victim is not None:
            self.cut(victim, "full")

    def cut(self, connection: Connection, reason: str) -> None:
        self._cut.labels(reason).inc()
        connection.abort()

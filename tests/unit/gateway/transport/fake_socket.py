"""A client's side of a connection that reads only when a test lets it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from gateway.auth.token_rules import Identity
from gateway.limits.rates import RateLimiter
from gateway.transport.clients import V1Client
from gateway.transport.connection import Connection, OpenSocket


class FakeTransport:
    """Keeps what is written; ``reads`` empties it at once."""

    def __init__(self) -> None:
        self.told = b""
        self.unread = 0
        self.most_unread = 0
        self.reads = True
        self.is_cut = False

    def write(self, data: bytes) -> None:
        self.told += data
        if not self.reads:
            self.unread += len(data)
            self.most_unread = max(self.most_unread, self.unread)

    def read_all(self) -> None:
        self.reads, self.unread = True, 0

    def get_write_buffer_size(self) -> int:
        return self.unread

    def is_closing(self) -> bool:
        return self.is_cut

    def abort(self) -> None:
        self.is_cut = True


class FakeWebSocket:
    """Plays aiohttp's side."""

    def __init__(self, messages: AsyncIterator[Any] | None = None) -> None:
        self.closed = False
        self.messages = messages

    async def close(self, **_: object) -> None:
        self.closed = True

    def __aiter__(self) -> AsyncIterator[Any]:
        assert self.messages is not None
        return self.messages


def connection(
    tasks: asyncio.TaskGroup,
    transport: FakeTransport,
    *,
    kind: type[Connection] = V1Client,
    websocket: FakeWebSocket | None = None,
    rate_limiter: RateLimiter | None = None,
) -> Connection:
    """A connection of the user ``u``."""
    given_transport: Any = transport
    given_socket: Any = websocket or FakeWebSocket()
    identity = Identity("u", 2**53)

    async def end_socket() -> None:
        transport.abort()

    socket = OpenSocket(given_socket, given_transport, end_socket)
    return kind(socket, tasks, identity, rate_limiter)

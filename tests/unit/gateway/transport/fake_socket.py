"""A client's side of a connection that reads only when a test lets it."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any

from prometheus_client import CollectorRegistry

from gateway.auth.token_rules import Identity
from gateway.limits.rates import Rate, RateLimiter, SocketLimits, TokenBuckets
from gateway.transport.clients import V1Client
from gateway.transport.connection import Connection
from shared.http.connection_limits import HttpConnectionLimiter, HttpLimits

UNLIMITED = SocketLimits(65_536, 0, Rate(0, 0))


class FakeTransport:
    """Keeps what is written; ``reads`` empties it at once."""

    def __init__(self) -> None:
        self.told = b""
        self.writes = 0
        self.unread = 0
        self.most_unread = 0
        self.reads = True
        self.is_cut = False
        self.is_paused = False
        self.pauses = 0
        self.has_ended = False
        self.protocol: Any = None

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def write(self, data: bytes) -> None:
        assert not self.has_ended
        self.told += data
        self.writes += 1
        if not self.reads:
            self.unread += len(data)
            self.most_unread = max(self.most_unread, self.unread)

    def write_eof(self) -> None:
        self.has_ended = True

    def read_all(self) -> None:
        self.reads, self.unread = True, 0

    def get_write_buffer_size(self) -> int:
        return self.unread

    def pause_reading(self) -> None:
        self.is_paused = True
        self.pauses += 1

    def resume_reading(self) -> None:
        self.is_paused = False

    def is_closing(self) -> bool:
        return self.is_cut

    def abort(self) -> None:
        if not self.is_cut and self.protocol is not None:
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)
        self.is_cut = True

    close = abort


class FakeService:
    """Keeps what it is given of each connection."""

    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        self._tasks = tasks
        self.messages: list[str] = []
        self.lost_connections: list[Connection] = []
        self.do: Callable[[Connection, str], Any] = lambda _, text: None

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.create_task(work)

    async def handle(self, connection: Connection, text: str) -> None:
        self.messages.append(text)
        doing = self.do(connection, text)
        if doing is not None:
            await doing

    def lost(self, connection: Connection) -> None:
        self.lost_connections.append(connection)


def connection(
    tasks: asyncio.TaskGroup,
    transport: FakeTransport,
    *,
    kind: type[Connection] = V1Client,
    rate_limiter: RateLimiter | None = None,
    service: FakeService | None = None,
    key: str | None = None,
) -> Connection:
    """A connection of the user ``u``; with a *key*, its handshake has yet to be answered."""
    limiter = HttpConnectionLimiter(HttpLimits(), None, CollectorRegistry())
    request: Any = SimpleNamespace(
        transport=transport,
        limiter=limiter,
        address=None,
        arrived_ns=time.monotonic_ns(),
        switch=transport.set_protocol,
    )
    service = service or FakeService(tasks)
    slot: Any = None
    identity = Identity("u", 2**53)
    rate_limiter = rate_limiter or RateLimiter(
        UNLIMITED, asyncio.get_running_loop().time(), "u", TokenBuckets(Rate(0, 0))
    )
    most = UNLIMITED.max_message_bytes
    if key is not None:
        return kind.accept(
            request,
            key,
            service,
            slot,
            identity,
            rate_limiter=rate_limiter,
            max_message_bytes=most,
        )
    made = kind(request, service, slot, identity, rate_limiter, most)
    transport.protocol = made
    return made


async def until_greeted(made: Connection) -> None:
    async with asyncio.timeout(10):
        while not made.is_greeted:
            await asyncio.sleep(0)

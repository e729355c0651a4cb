"""Requests to change the protocol (RFC 9110, section 7.8), which one handler answers itself.

A connection whose first bytes are such a request never meets aiohttp: that keeps a handshake
cheap, and the connection small. Everything else is handed to ``HttpConnection``, also a request
of that kind which is malformed, comes in pieces, or is not the connection's first.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, cast

from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpRequestParser, HttpVersion
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import EMPTY_PAYLOAD

from shared.http.connection_limits import HttpConnectionLimiter
from shared.http.lingering import LINGER_SECONDS, LingeringConnection

MAX_HEADER_BYTES: Final = 32 * 1024  # room for the error that explains a token that is too long
_HEAD_END: Final = b"\r\n\r\n"
_EARLY_BYTES: Final = 64 * 1024


class Fields(Protocol):
    """Header fields, or query parameters, each of which may have several values."""

    def getall(self, key: str, default: tuple[()], /) -> Sequence[str]: ...


class RequestHead(Protocol):
    """A request's first line and headers, whoever parsed it."""

    @property
    def method(self) -> str: ...

    @property
    def version(self) -> HttpVersion: ...

    @property
    def headers(self) -> Fields: ...

    @property
    def query(self) -> Fields: ...

    @property
    def transport(self) -> asyncio.Transport | None: ...


class UpgradeHandler(Protocol):
    """Answers all upgrade requests for one path."""

    @property
    def path(self) -> str: ...

    def open(self, request: "UpgradeRequest") -> None:
        """Begin to answer the request, with ``switch`` or ``refuse``."""
        ...


class UpgradeRequest(asyncio.Protocol):
    """A connection that waits for the answer to its upgrade request.

    What the client sends meanwhile is kept for the next protocol, up to ``_EARLY_BYTES``.
    """

    __slots__ = (
        "_early",
        "_is_paused",
        "address",
        "arrived_ns",
        "headers",
        "limiter",
        "method",
        "query",
        "transport",
        "version",
    )

    def __init__(
        self,
        transport: asyncio.Transport,
        limiter: HttpConnectionLimiter,
        address: str | None,
        head: RequestHead,
        early: bytes,
    ) -> None:
        """Take the connection over; *address* is what the limiter counts it under."""
        self.transport = transport
        self.limiter = limiter
        self.address = address
        self.arrived_ns = time.monotonic_ns()
        self.method = head.method
        self.version = head.version
        self.headers = head.headers
        self.query = head.query
        self._early = b""
        self._is_paused = False
        transport.set_protocol(self)
        self.data_received(early)

    @property
    def is_lost(self) -> bool:
        """Whether the client has gone."""
        return self.transport.is_closing()

    def switch(self, protocol: asyncio.Protocol) -> None:
        """Let *protocol* have the connection, beginning with what came early. It answers the
        request.
        """
        self.transport.set_protocol(protocol)
        if self._is_paused:
            self.transport.resume_reading()
        if self._early:
            protocol.data_received(self._early)

    def refuse(self, response: bytes, is_answer: Callable[[bytes], bool] | None = None) -> None:
        """Answer, and end the connection: see ``LingeringConnection``."""
        if not self.is_lost:
            self.transport.write(response)
            LingeringConnection(
                self.transport, self.limiter, self.address, LINGER_SECONDS, is_answer=is_answer
            )

    def data_received(self, data: bytes) -> None:
        self._early += data
        if len(self._early) > _EARLY_BYTES and not self._is_paused:
            self._is_paused = True
            self.transport.pause_reading()

    def connection_lost(self, exc: BaseException | None) -> None:
        self.limiter.closed(self.transport)


class NewConnection(asyncio.Protocol):
    """A connection until its first bytes, which decide what serves it."""

    __slots__ = ("_address", "_deadline", "_handler", "_limiter", "_make_http", "_transport")

    def __init__(
        self,
        limiter: HttpConnectionLimiter,
        handler: UpgradeHandler,
        make_http: Callable[[], asyncio.Protocol],
    ) -> None:
        self._limiter = limiter
        self._handler = handler
        self._make_http = make_http
        self._address: str | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._address = self._limiter.opened(self._transport)
        seconds = self._limiter.limits.request_seconds
        if seconds:
            loop = asyncio.get_running_loop()
            self._deadline = loop.call_later(seconds, self._limiter.cut, self, "slow")
        self._limiter.wait(self, self._address)

    def data_received(self, data: bytes) -> None:
        self._leave()
        found = _parse_upgrade(data, self._handler.path.encode())
        if found is None:
            http = self._make_http()
            self._transport.set_protocol(http)
            http.connection_made(self._transport)
            http.data_received(data)
            return
        head, early = found
        self._handler.open(
            UpgradeRequest(self._transport, self._limiter, self._address, head, early)
        )

    def connection_lost(self, exc: BaseException | None) -> None:
        self._leave()
        self._limiter.closed(self._transport, self)

    def abort(self) -> None:
        self._transport.abort()

    def _leave(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._limiter.slots.leave(self)


class _Head:
    """The head of a parsed request."""

    __slots__ = ("headers", "method", "query", "transport", "version")

    def __init__(self, message: Any) -> None:
        self.method: str = message.method
        self.version: HttpVersion = message.version
        self.headers: Fields = message.headers
        self.query: Fields = message.url.query
        self.transport: asyncio.Transport | None = None


def _parse_upgrade(data: bytes, path: bytes) -> tuple[_Head, bytes] | None:
    """Return the upgrade request for *path* that these bytes begin with, and what follows it.

    None: they are something else, or not all of it, which aiohttp then sees from its beginning.
    """
    start = b"GET " + path
    if (
        not data.startswith((start + b"?", start + b" "))
        or len(data) > MAX_HEADER_BYTES
        or _HEAD_END not in data
    ):
        return None
    loop = asyncio.get_running_loop()
    parser = HttpRequestParser(
        BaseProtocol(loop), loop, 2**16, max_field_size=MAX_HEADER_BYTES, auto_decompress=False
    )
    try:
        messages, is_upgraded, early = parser.feed_data(data)
    except HttpProcessingError:
        return None
    if not is_upgraded or len(messages) != 1:
        return None
    message, payload = messages[0]
    if payload is not EMPTY_PAYLOAD or "Expect" in message.headers:
        return None
    return _Head(message), early

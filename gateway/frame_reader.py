"""Between a client's bytes and aiohttp's reader: stricter framing, and no floods.

Like the connection, it knows aiohttp's internals: where a socket's parser is kept.
"""

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Final, Protocol

from aiohttp import WebSocketError, WSCloseCode, web
from aiohttp.web_protocol import RequestHandler

from gateway.core.frames import FrameRules, ends_with_close
from shared.core.protocol import HEARTBEAT_SECONDS, SUBPROTOCOL
from shared.http_connection import HttpConnection

CLOSE_SECONDS: Final = 5.0
# It warns with all subprotocols that a client offers, and a token may be among them.
logging.getLogger("aiohttp.websocket").setLevel(logging.ERROR)
KERNEL_BUFFER_BYTES: Final = 128 * 1024  # left to itself it grows to 4 MB for who never reads

CountFrames = Callable[[int], None]


class Reader(Protocol):
    """What aiohttp feeds a socket's bytes to."""

    def feed_data(self, data: bytes) -> tuple[bool, bytes]: ...

    def feed_eof(self) -> None: ...


class FrameReader:
    """Hands on what keeps the rules, and says how many frames came."""

    def __init__(self, reader: Reader, fail: Callable[[Exception], None]) -> None:
        self._reader = reader
        self._fail = fail
        self._rules = FrameRules()
        self._has_failed = False
        self.count: CountFrames = _ignore

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        if self._has_failed:
            return True, b""
        good = self._judge(data)
        ended, rest = self._reader.feed_data(good)
        return ended or self._has_failed, rest

    def feed_eof(self) -> None:
        self._reader.feed_eof()

    def _judge(self, data: bytes) -> bytes:
        before = self._rules.frames
        violation = self._rules.feed(data)
        self.count(self._rules.frames - before)
        if violation is None:
            return data
        self._has_failed = True
        self._fail(WebSocketError(WSCloseCode.PROTOCOL_ERROR, violation.message))
        return data[: violation.position]


async def accept_socket(
    request: web.Request, *, is_v1: bool, max_message_bytes: int
) -> tuple[web.WebSocketResponse, asyncio.Transport, FrameReader, bytes]:
    """Answer the handshake; from now on what the client sends is judged.

    The last value is what a client sent that did not wait for the answer: it has to be fed to
    the reader, unless the socket is refused.

    Raises ``ConnectionResetError`` if the client has gone meanwhile.
    """
    websocket = web.WebSocketResponse(
        protocols=(SUBPROTOCOL,) if is_v1 else (),
        heartbeat=HEARTBEAT_SECONDS,
        compress=False,
        autoclose=False,  # who began to close is known by the connection
        max_msg_size=max_message_bytes + 1,  # one of that size it would refuse
        timeout=CLOSE_SECONDS,
    )
    handler: RequestHandler = request.protocol
    # aiohttp would feed it to its own reader
    early, handler._message_tail = handler._message_tail, b""
    await websocket.prepare(request)
    transport, queue = request.transport, websocket._reader
    if transport is None or queue is None or handler._payload_parser is None:
        raise ConnectionResetError("the client has gone")
    reader = FrameReader(handler._payload_parser, queue.set_exception)
    handler._payload_parser = reader
    kernel: socket.socket | None = transport.get_extra_info("socket")
    if kernel is not None:
        kernel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_BUFFER_BYTES)
    return websocket, transport, reader, early


async def end_socket(
    websocket: web.WebSocketResponse, connection: HttpConnection, seconds: float
) -> None:
    """Read nothing more, send what was written, and return when the connection is gone: when
    the client has answered the Close frame or gone itself, or after *seconds*.
    """
    websocket._set_closed()  # no heartbeat
    queue = websocket._reader
    if queue is not None:
        queue._buffer.clear()  # no answers to pings that have come but were not read yet
        queue.feed_eof()
    await connection.hang_up(seconds, ends_with_close)


def _ignore(_: int) -> None:
    """Nobody counts the frames of a socket that is refused."""

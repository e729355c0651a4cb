"""Between a client's bytes and aiohttp's reader: stricter framing, and no floods.

Like the connection, it knows aiohttp's internals: where a socket's parser is kept.
"""

from collections.abc import Callable
from typing import Protocol

from aiohttp import WebSocketError, WSCloseCode, web
from aiohttp.web_protocol import RequestHandler

from gateway.core.frames import FrameRules

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


async def prepare(websocket: web.WebSocketResponse, request: web.Request) -> FrameReader:
    """Answer the handshake; from now on what the client sends is judged."""
    handler: RequestHandler = request.protocol
    # of a client that did not wait for the answer: aiohttp would feed it to its own reader
    early, handler._message_tail = handler._message_tail, b""
    await websocket.prepare(request)
    queue = websocket._reader
    if queue is None or handler._payload_parser is None:
        raise ConnectionResetError("the client has gone")
    reader = FrameReader(handler._payload_parser, queue.set_exception)
    handler._payload_parser = reader
    if early:
        reader.feed_data(early)
    return reader


def _ignore(_: int) -> None:
    """Nobody counts the frames of a socket that is refused."""

"""Between a client's bytes and aiohttp's WebSocket reader: strict framing, and rate limits.

It relies on aiohttp's internals, for instance on where a connection keeps its parser;
``tests/unit/shared/http/test_aiohttp_internals.py`` names them.
"""

import asyncio
import logging
import math
import socket
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from aiohttp import WebSocketError, WSCloseCode, web
from aiohttp.web_protocol import RequestHandler

from gateway.transport.frame_rules import FrameRules, ends_with_close
from shared.http.connection import HttpConnection
from shared.protocol.frames import PING_INTERVAL_SECONDS

CLOSE_SECONDS: Final = 5.0
# aiohttp's warning would log all subprotocols that a client offers, perhaps with a token.
logging.getLogger("aiohttp.websocket").setLevel(logging.ERROR)
# By default the kernel lets its buffers grow to several MB for a client that does not read, or
# that is not read. It doubles these numbers.
KERNEL_BUFFER_BYTES: Final = 128 * 1024
KERNEL_RECEIVE_BYTES: Final = 32 * 1024

PIECE_BYTES: Final = 1024  # of frames that are judged together

JudgeFrames = Callable[[int], float]
"""Takes a number of further frames and returns for how long to stop reading; infinity: for the
rest of the connection.
"""


class Reader(Protocol):
    """aiohttp's WebSocket parser."""

    def feed_data(self, data: bytes) -> tuple[bool, bytes]: ...

    def feed_eof(self) -> None: ...


class FrameReader:
    """Passes well-formed frames on to aiohttp's parser, as fast as the client may send."""

    def __init__(
        self,
        reader: Reader,
        fail: Callable[[Exception], None],
        pause: Callable[[], None],
        resume: Callable[[], None],
    ) -> None:
        self._reader = reader
        self._fail = fail
        self._pause = pause
        self._resume = resume
        self._rules = FrameRules()
        self._has_failed = False
        self._early = bytearray()
        self._judge_frames: JudgeFrames | None = None
        self._wait_seconds = 0.0

    def start(self, judge: JudgeFrames) -> None:
        """Begin to read, with what a client sent before its handshake was answered."""
        self._judge_frames = judge
        early, self._early = bytes(self._early), bytearray()
        if early:
            self.feed_data(early)

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        if self._judge_frames is None:
            self._early += data
            return False, b""
        if self._has_failed or self._wait_seconds == math.inf:
            return self._has_failed, b""
        good = self._judge(data, self._judge_frames)
        ended, rest = self._reader.feed_data(good)
        if self._wait_seconds:
            self._pause()
            if self._wait_seconds < math.inf:
                asyncio.get_running_loop().call_later(self._wait_seconds, self._resume)
        return ended or self._has_failed, rest

    def feed_eof(self) -> None:
        self._reader.feed_eof()

    def _judge(self, data: bytes, judge: JudgeFrames) -> bytes:
        """Return the part of *data* that may be read."""
        for start in range(0, len(data), PIECE_BYTES):
            before = self._rules.frames
            violation = self._rules.feed(data[start : start + PIECE_BYTES])
            self._wait_seconds = judge(self._rules.frames - before)
            if self._wait_seconds == math.inf:
                return data[:start]
            if violation is not None:
                self._has_failed = True
                self._fail(WebSocketError(WSCloseCode.PROTOCOL_ERROR, violation.message))
                return data[: start + violation.position]
        return data


async def accept_socket(
    request: web.Request, *, subprotocols: Sequence[str], max_message_bytes: int
) -> tuple[web.WebSocketResponse, asyncio.Transport, FrameReader]:
    """Answer the handshake. Nothing that the client sends is read before the reader starts.

    Raises:
        ConnectionResetError: the client has gone meanwhile.
    """
    websocket = web.WebSocketResponse(
        protocols=subprotocols,
        heartbeat=PING_INTERVAL_SECONDS,
        compress=False,
        autoclose=False,  # the connection knows which side began to close
        autoping=False,  # the connection writes pongs, within its bounds
        max_msg_size=max_message_bytes + 1,  # aiohttp refuses a message of exactly this size
        timeout=CLOSE_SECONDS,
    )
    handler: RequestHandler = request.protocol
    # aiohttp would feed these bytes to its own reader
    early, handler._message_tail = handler._message_tail, b""
    await websocket.prepare(request)
    transport, queue = request.transport, websocket._reader
    if transport is None or queue is None or handler._payload_parser is None:
        raise ConnectionResetError("the client has gone")
    reader = FrameReader(
        handler._payload_parser,
        queue.set_exception,
        handler._pause_reading_for_buffer,
        handler._resume_reading_for_buffer,
    )
    handler._payload_parser = reader
    reader.feed_data(early)
    kernel: socket.socket | None = transport.get_extra_info("socket")
    if kernel is not None:
        kernel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_BUFFER_BYTES)
        kernel.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, KERNEL_RECEIVE_BYTES)
    return websocket, transport, reader


async def end_socket(
    websocket: web.WebSocketResponse, connection: HttpConnection, seconds: float
) -> None:
    """Stop reading, send what was written, and return when the connection is gone.

    It is gone when the client has answered the Close frame or left, or after *seconds*.
    """
    websocket._set_closed()  # stops the heartbeat
    queue = websocket._reader
    if queue is not None:
        queue._buffer.clear()  # pings that were received but not read get no answer
        queue.feed_eof()
    await connection.hang_up(seconds, ends_with_close)

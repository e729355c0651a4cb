"""One client's socket: the only room that knows aiohttp's internals.

aiohttp does the handshake, reads, and answers pings; events are written past it, as frames
built once for all subscribers, straight to the transport. That is safe because aiohttp too
writes whole frames at once (compression is off), and because nothing is written once its side
has begun to close.
"""

import asyncio
from typing import Final

from aiohttp import WSMsgType, web

from gateway.core.registry import Cause
from gateway.core.session import decide_reply
from shared.core.close_codes import CloseCode, Refusal
from shared.core.protocol import (
    HEARTBEAT_SECONDS,
    SUBPROTOCOL,
    connected_frame,
    encode_text_frame,
    error_frame,
    reconnect_frame,
)
from shared.core.replay import Cursor

MAX_MESSAGE_BYTES: Final = 64 * 1024
HIGH_WATER_BYTES: Final = 1024 * 1024
CLOSE_SECONDS: Final = 5.0


class Connection:
    """A subscriber. Writing never waits and never raises.

    A client that is gone or too slow just ends.
    """

    __slots__ = ("_closers", "_socket", "_transport", "greeted", "is_v1")

    def __init__(
        self,
        socket: web.WebSocketResponse,
        transport: asyncio.Transport,
        closers: asyncio.TaskGroup,
        *,
        is_v1: bool,
    ) -> None:
        self._socket = socket
        self._transport = transport
        self._closers = closers
        self.is_v1 = is_v1
        self.greeted = asyncio.Event()

    @classmethod
    async def accept(
        cls, request: web.Request, closers: asyncio.TaskGroup, *, is_v1: bool
    ) -> "Connection":
        """Answer the handshake. Raises ``ConnectionResetError`` if the client has gone
        meanwhile.
        """
        socket = web.WebSocketResponse(
            protocols=(SUBPROTOCOL,) if is_v1 else (),
            heartbeat=HEARTBEAT_SECONDS,
            compress=False,
            max_msg_size=MAX_MESSAGE_BYTES,
            timeout=CLOSE_SECONDS,
        )
        await socket.prepare(request)
        if request.transport is None:
            raise ConnectionResetError("the client has gone")
        return cls(socket, request.transport, closers, is_v1=is_v1)

    @property
    def response(self) -> web.WebSocketResponse:
        """What the request handler returns at the end."""
        return self._socket

    def write(self, frames: bytes) -> None:
        """Send whole frames, as ``encode_text_frame`` makes them."""
        if self._socket.closed or self._transport.is_closing():
            return
        self._transport.write(frames)
        if self._transport.get_write_buffer_size() > HIGH_WATER_BYTES:
            self.end(CloseCode.TOO_SLOW, "too slow")

    def greet(self, place: Cursor) -> None:
        """The first frame: all that the client fetched before it may be stale, nothing after it
        is missed.
        """
        if self.is_v1:
            self.write(encode_text_frame(connected_frame([place], resumed=[])))
        else:
            self.write(encode_text_frame(reconnect_frame("connected")))
        self.greeted.set()

    def reset(self, place: Cursor, cause: Cause) -> None:
        """Everything of the channel, or everything, may be stale up to this place."""
        frame = reconnect_frame(
            cause.reason,
            project_id=None if cause.everything else place.channel.id,
            cursors=[place] if self.is_v1 else None,
        )
        self.write(encode_text_frame(frame))

    def end(self, code: CloseCode, reason: str) -> None:
        """Begin to close; nothing is written any more."""
        if not self._socket.closed:
            self._closers.create_task(self.close(code, reason))

    async def refuse(self, refusal: Refusal) -> None:
        """Tell a v1 client why not, and close.

        A browser can't read the status of a failed handshake.
        """
        self.write(encode_text_frame(error_frame(refusal.code, refusal.message)))
        await self.close(refusal.close, refusal.code)

    async def close(self, code: CloseCode, reason: str) -> None:
        """Close in order, but wait no longer for a client that does not read."""
        self.greeted.set()
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._socket.close(code=code, message=reason.encode())
        except TimeoutError:
            self._transport.abort()

    async def serve(self) -> None:
        """Read what the client sends, until it or we close."""
        async for message in self._socket:
            if message.type is WSMsgType.TEXT:
                reply = decide_reply(message.data, is_v1=self.is_v1)
                if reply is not None:
                    self.write(encode_text_frame(reply))
            elif message.type is WSMsgType.BINARY:
                await self.close(CloseCode.UNSUPPORTED_DATA, "text frames only")

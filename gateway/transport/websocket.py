"""A WebSocket after its handshake: paced reads, pings, and the closing handshake."""

import asyncio
import logging
import math
from abc import ABC, abstractmethod
from collections import deque
from typing import ClassVar, Final, Self

from gateway.auth.token_rules import Identity
from gateway.limits.connection_limiter import ConnectionSlot
from gateway.limits.rates import RateLimiter, RateVerdict
from gateway.transport.channel_frames import ChannelFrames
from gateway.transport.connection import (
    ABNORMAL_CLOSURE,
    DRAIN_POLL_SECONDS,
    Connection,
    Ending,
    Service,
)
from gateway.transport.frame_parser import (
    Close,
    FrameEvent,
    FrameParser,
    Ping,
    Violation,
    ends_with_close,
)
from gateway.transport.websocket_frames import (
    encode_close_frame,
    encode_handshake,
    encode_ping_frame,
    encode_pong_frame,
    encode_text_frame,
)
from shared.http.lingering import LINGER_SECONDS
from shared.http.upgrades import UpgradeRequest
from shared.protocol.close_codes import rate_limited
from shared.protocol.frames import PING_INTERVAL_SECONDS

PONG_SECONDS: Final = PING_INTERVAL_SECONDS / 2
PIECE_BYTES: Final = 1024  # of frames that are judged together
_NORMAL_CLOSURE: Final = 1000
_SILENT: Final = Ending(ABNORMAL_CLOSURE, "the client answered no ping")
_FAILED: Final = Ending(ABNORMAL_CLOSURE, "a request failed")
_PING_FRAME: Final = encode_ping_frame()
_TOO_FAST: Final = rate_limited("too much at once: send less, or the socket is closed")

log = logging.getLogger(__name__)


class WebSocket(Connection, ABC):
    """A client's WebSocket; ``clients`` has the two kinds of client that use one."""

    __slots__ = ("_inbox", "_is_lost", "_is_pinged", "_is_serving", "_parser")

    SUBPROTOCOL: ClassVar[str | None]

    def __init__(
        self,
        request: UpgradeRequest,
        service: Service,
        slot: ConnectionSlot,
        identity: Identity,
        rate_limiter: RateLimiter,
        max_message_bytes: int,
    ) -> None:
        super().__init__(request, service, slot, identity, rate_limiter)
        self._parser = FrameParser(max_message_bytes)
        self._inbox: deque[FrameEvent] | None = None  # while something is being served
        self._is_lost = False
        self._is_pinged = False
        self._is_serving = False

    @classmethod
    def accept(
        cls,
        request: UpgradeRequest,
        key: str,
        service: Service,
        slot: ConnectionSlot,
        identity: Identity,
        *,
        rate_limiter: RateLimiter,
        max_message_bytes: int,
    ) -> Self:
        """Answer the handshake, whose ``Sec-WebSocket-Key`` is *key*, with the first frame."""
        self = cls(request, service, slot, identity, rate_limiter, max_message_bytes)
        self._unsent = encode_handshake(key, cls.SUBPROTOCOL)
        request.switch(self)
        return self

    @abstractmethod
    async def handle(self, text: str) -> None:
        """Answer a v1 client's message."""

    def send(self, payload: bytes) -> None:
        self.write(encode_text_frame(payload))

    def deliver(self, frames: ChannelFrames) -> None:
        self.write(frames.websocket)

    def end(self, code: int, reason: str) -> None:
        """Begin to close; nothing is written after the Close frame.

        What the client sends from now on is dropped, except its Close frame, which ends the
        connection.
        """
        self._end(Ending(code, reason), encode_close_frame(code, reason), ends_with_close)

    @property
    def received_frames(self) -> int:
        return self._parser.frames

    def _forget(self) -> None:
        self._is_lost = True
        if not self._is_serving:  # else afterwards: what is being served may still subscribe
            super()._forget()

    def check(self, now: float) -> None:
        """Ping a greeted client that was silent, abort the connection if it does not answer.

        This frees what a client keeps that has gone without closing. While its messages are
        being served it is not read, and can't answer.
        """
        if self._is_serving:
            self.due_at = now + PONG_SECONDS
        elif self._is_pinged:
            self._abort(_SILENT)
        else:
            self._is_pinged = True
            self.due_at = now + PONG_SECONDS
            self.write(_PING_FRAME)

    # --- what is received

    def data_received(self, data: bytes) -> None:
        self._note_sign_of_life()
        for start in range(0, len(data), PIECE_BYTES):
            frames = self._parser.frames
            events = self._parser.feed(data[start : start + PIECE_BYTES])
            if self._judge_frames(self._parser.frames - frames) == math.inf:
                return  # it has ended
            if events:
                if not self.is_greeted and isinstance(events[-1], Close | Violation):
                    self._finish(events[-1])  # it does not wait for the greeting
                    return
                self._inbox = self._inbox or deque()
                self._inbox += events
        # Before the greeting nothing is served, which would read on afterwards.
        if self._inbox or (self.is_greeted and self._must_wait()):
            self._transport.pause_reading()
            self._serve_inbox()

    def _note_sign_of_life(self) -> None:
        self._is_pinged = False
        if self.is_greeted:
            self.due_at = asyncio.get_running_loop().time() + PING_INTERVAL_SECONDS

    def _begin(self) -> None:
        super()._begin()
        self._note_sign_of_life()
        if self._inbox:
            self._serve_inbox()

    def _serve_inbox(self) -> None:
        if self.is_greeted and not self._is_serving:
            self._is_serving = True
            self._service.start(self._serve())

    async def _serve(self) -> None:
        """Do what the client asks for, no faster than it reads its answers and than its rate
        allows, and let other tasks run after each message. Then read on.
        """
        try:
            while True:
                while self._must_wait() and not self._is_over:  # noqa: ASYNC110 no event
                    await asyncio.sleep(DRAIN_POLL_SECONDS)
                if self._is_over or not self._inbox:
                    break
                await self._take(self._inbox.popleft())
                await asyncio.sleep(0)
        except Exception:
            log.exception("request failed", extra={"connection": self.number})
            self._abort(_FAILED)
        finally:
            self._is_serving = False
            self._inbox = None
            if self._is_lost:
                self._forget()
            elif not self._is_over:
                self._transport.resume_reading()

    async def _take(self, event: FrameEvent) -> None:
        match event:
            case str():
                await self.handle(event)
            case Ping():
                self.write(encode_pong_frame(event.payload))
            case _:
                self._finish(event)

    def _finish(self, event: Close | Violation) -> None:
        """Answer the client's Close, or close because of what it sent."""
        if isinstance(event, Close):
            self.ending = Ending(event.code, "the client closed it")
            self.write(encode_close_frame(_NORMAL_CLOSURE, ""))
            self._linger(LINGER_SECONDS, None)
        else:
            self.end(event.code, event.message)

    def _must_wait(self) -> bool:
        return self.has_backpressure or self._judge_frames(0) > 0

    def _judge_frames(self, frames: int) -> float:
        """Charge for frames. Return for how long to stop reading; infinity: for the rest of the
        connection.
        """
        now = asyncio.get_running_loop().time()
        verdict = self._rate_limiter.judge(frames, now)
        if verdict is RateVerdict.FLOOD:
            self.end(_TOO_FAST.close, _TOO_FAST.code)
            return math.inf
        if verdict is RateVerdict.TOO_FAST:
            self.send_refusal(_TOO_FAST)
        return self._rate_limiter.wait_seconds(now)

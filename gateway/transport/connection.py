"""One client's WebSocket after its handshake: bounded writes, paced reads, and its end.

A connection is the protocol of its transport, and all that is kept for a client: it has no
task, no timer and no queue while nothing is to be done for it. ``ConnectionSweep`` looks after
the deadlines of all connections.
"""

import asyncio
import logging
import math
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, ClassVar, Final, NamedTuple, Protocol, Self

from gateway.auth.token_rules import Identity
from gateway.limits.connection_limiter import ConnectionSlot
from gateway.limits.rates import RateLimiter, RateVerdict
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
from shared.http.lingering import LINGER_SECONDS, LingeringConnection
from shared.http.upgrades import UpgradeRequest
from shared.protocol.channels import Channel
from shared.protocol.close_codes import Refusal, rate_limited
from shared.protocol.events import Reason
from shared.protocol.frames import PING_INTERVAL_SECONDS
from shared.protocol.replay import Cursor

HIGH_WATER_BYTES: Final = 256 * 1024
LOW_WATER_BYTES: Final = 64 * 1024
MAX_UNREAD_BYTES: Final = 2 * HIGH_WATER_BYTES
DRAIN_POLL_SECONDS: Final = 0.05
CLOSE_SECONDS: Final = 5.0
GREETING_SECONDS: Final = 10.0
PONG_SECONDS: Final = PING_INTERVAL_SECONDS / 2
PIECE_BYTES: Final = 1024  # of frames that are judged together
_NORMAL_CLOSURE: Final = 1000
_ABNORMAL_CLOSURE: Final = 1006
_PING_FRAME: Final = encode_ping_frame()
_TOO_FAST: Final = rate_limited("too much at once: send less, or the socket is closed")

log = logging.getLogger(__name__)


class Ending(NamedTuple):
    """How a connection ended: the first Close frame's code, 1006 without one, and why."""

    code: int
    reason: str


_LOST: Final = Ending(_ABNORMAL_CLOSURE, "the connection was lost")
_SILENT: Final = Ending(_ABNORMAL_CLOSURE, "the client answered no ping")
_UNREAD: Final = Ending(_ABNORMAL_CLOSURE, "the client left too much unread")
_FAILED: Final = Ending(_ABNORMAL_CLOSURE, "a request failed")


class Service(Protocol):
    """What serves the connections of a gateway."""

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run *work* in a task."""
        ...

    async def handle(self, connection: "Connection", text: str) -> None:
        """Answer a message of a v1 client."""
        ...

    def lost(self, connection: "Connection") -> None:
        """Forget a connection that has ended."""
        ...


class Connection(asyncio.Protocol, ABC):
    """A client's WebSocket; ``clients`` has the two kinds of client.

    Writing never waits and never raises. A client that has gone just ends; one that reads too
    slowly is seen by ``has_backpressure``.
    """

    __slots__ = (
        "_address",
        "_has_ended",
        "_http_limiter",
        "_inbox",
        "_is_lost",
        "_is_pinged",
        "_is_serving",
        "_may_be_full",
        "_parser",
        "_rate_limiter",
        "_service",
        "_transport",
        "_unsent",
        "arrived_ns",
        "due_at",
        "ending",
        "identity",
        "is_greeted",
        "on_backpressure",
        "reported_live",
        "slot",
        "token_due_at",
    )

    KIND: ClassVar[str]  # in metrics and logs
    SUBPROTOCOL: ClassVar[str | None]
    RESUMES: ClassVar[bool]  # whether the client keeps the cursor of each channel

    def __init__(
        self,
        request: UpgradeRequest,
        service: Service,
        slot: ConnectionSlot,
        identity: Identity,
        rate_limiter: RateLimiter,
        max_message_bytes: int,
    ) -> None:
        self._transport = request.transport
        self._http_limiter = request.limiter
        self._address = request.address
        self._service = service
        self._rate_limiter = rate_limiter
        self._parser = FrameParser(max_message_bytes)
        self._inbox: deque[FrameEvent] | None = None  # while something is being served
        self._has_ended = False
        self._is_lost = False
        self._is_pinged = False
        self._is_serving = False
        self._may_be_full = False  # the buffer was, after the last write
        self._unsent = b""  # goes before the first frame: that saves each handshake a write
        self.slot = slot
        self.identity = identity
        self.arrived_ns = request.arrived_ns
        """When its handshake request arrived, by ``time.monotonic_ns``."""
        self.ending = _LOST
        """How it has ended or, until then, how it ends if nothing is said."""
        self.is_greeted = False
        self.reported_live = True
        self.on_backpressure: Callable[[Connection], None] | None = None
        self.due_at = asyncio.get_running_loop().time() + GREETING_SECONDS
        """When the sweep is to look at it, by the loop's clock."""
        self.token_due_at = 0.0
        """When the sweep is to look at its token, in Unix seconds."""

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

    # --- what is sent

    @abstractmethod
    def greet(self, cursors: Sequence[Cursor], resumed: Sequence[Channel]) -> None:
        """Send the first frame. What the client fetched before it may be stale, except in the
        *resumed* channels; it misses nothing after it.
        """

    @abstractmethod
    def confirm_subscription(self, cursor: Cursor, *, resumed: bool) -> None:
        """Answer a v1 client's ``subscribe``: the subscription is live."""

    @abstractmethod
    def reset(
        self,
        cursors: Sequence[Cursor],
        reason: Reason,
        *,
        project_id: str | None,
        spread_seconds: float,
    ) -> None:
        """Send a reset: everything of the project, or everything at all, may be stale up to
        *cursors*. Clients fetch again spread over *spread_seconds*.
        """

    @abstractmethod
    def revoke(self, project_id: str, *, has_others: bool) -> None:
        """End the subscription to a project that the user has lost; *has_others* tells whether
        the client is subscribed to further projects.
        """

    @abstractmethod
    def send_access_changes(self, project_ids: Iterable[str]) -> None:
        """Send a plain client what follows from events that may change its user's access to
        these projects.
        """

    def report_liveness(self, *, live: bool) -> None:
        """Tell a v1 client whether events arrive as changes happen."""
        self.reported_live = live

    @abstractmethod
    def warn_of_expiry(self, seconds: float) -> float:
        """Warn a v1 client once that its token expires in so many seconds.

        Returns how many seconds before the expiry to call again; minus infinity: never.
        """

    @abstractmethod
    def send_refusal(self, refusal: Refusal) -> None:
        """Send a v1 client the reason, as an error frame."""

    @abstractmethod
    async def handle(self, text: str) -> None:
        """Answer a v1 client's message."""

    def renew(self, identity: Identity) -> None:
        """Continue with a new token of the same user."""
        self.identity = identity
        self.token_due_at = 0.0

    @property
    def user_id(self) -> str:
        return self.identity.user_id

    @property
    def number(self) -> str:
        """What names it in logs."""
        return f"{self.arrived_ns:x}"

    @property
    def age_seconds(self) -> float:
        """How long ago its handshake request arrived."""
        return (time.monotonic_ns() - self.arrived_ns) / 1e9

    @property
    def totals(self) -> dict[str, Any]:
        """What logs say of it when it has ended."""
        return {
            "connection": self.number,
            "kind": self.KIND,
            "code": self.ending.code,
            "reason": self.ending.reason,
            "seconds": round(self.age_seconds, 3),
            "received_frames": self._parser.frames,
        }

    @property
    def has_backpressure(self) -> bool:
        """Whether the client leaves so much unread that nothing more should be queued."""
        return self._transport.get_write_buffer_size() > HIGH_WATER_BYTES

    @property
    def is_drained(self) -> bool:
        return self._transport.get_write_buffer_size() <= LOW_WATER_BYTES

    @property
    def _is_over(self) -> bool:
        return self._has_ended or self._transport.is_closing()

    def send(self, payload: bytes) -> None:
        """Send one text frame."""
        self.write(encode_text_frame(payload))

    def write(self, frames: bytes) -> None:
        """Send whole frames, as ``encode_text_frame`` makes them.

        This is the only place that bounds what a client leaves unread. Over
        ``HIGH_WATER_BYTES``, ``on_backpressure`` is called, and only what was already decided
        on is still written; over ``MAX_UNREAD_BYTES`` the connection is aborted.
        """
        transport = self._transport
        if self._has_ended or transport.is_closing():
            return
        if self._may_be_full:
            unread = transport.get_write_buffer_size()
            if unread > HIGH_WATER_BYTES and unread + len(frames) > MAX_UNREAD_BYTES:
                self._abort(_UNREAD)
                return
        if self._unsent:
            frames, self._unsent = self._unsent + frames, b""
        transport.write(frames)
        self._may_be_full = transport.get_write_buffer_size() > HIGH_WATER_BYTES
        if self._may_be_full and self.on_backpressure is not None:
            self.on_backpressure(self)

    # --- how it ends

    def end_with(self, refusal: Refusal) -> None:
        """Begin to close, after an error frame to a v1 client."""
        self.send_refusal(refusal)
        self.end(refusal.close, refusal.code)

    def end(self, code: int, reason: str) -> None:
        """Begin to close; nothing is written after the Close frame.

        What the client sends from now on is dropped, except its Close frame, which ends the
        connection. It ends after ``CLOSE_SECONDS`` in any case.
        """
        if not self._has_ended:
            self.ending = Ending(code, reason)
            self.write(encode_close_frame(code, reason))
            self._linger(CLOSE_SECONDS, ends_with_close)

    def _abort(self, ending: Ending) -> None:
        self.ending = ending
        self._transport.abort()

    def _linger(self, seconds: float, is_answer: Callable[[bytes], bool] | None) -> None:
        self._has_ended = True
        self.due_at = math.inf
        LingeringConnection(
            self._transport,
            self._http_limiter,
            self._address,
            seconds,
            is_answer=is_answer,
            on_lost=self.connection_lost,
        )

    def connection_lost(self, exc: BaseException | None) -> None:
        self._http_limiter.closed(self._transport)
        self._has_ended = self._is_lost = True
        if not self._is_serving:  # else afterwards: what is being served may still subscribe
            self._service.lost(self)

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
        """Serve the client: it has been greeted."""
        self.is_greeted = True
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
                self._service.lost(self)
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

    def charge(self, cost: int) -> None:
        """Charge the client's rate for a message, in addition to its frames."""
        self._rate_limiter.charge(cost, asyncio.get_running_loop().time())

    def charge_replay(self, rows: int) -> None:
        """Charge the client's rate for rows replayed since a cursor that it sent."""
        self._rate_limiter.charge_replay(rows, asyncio.get_running_loop().time())

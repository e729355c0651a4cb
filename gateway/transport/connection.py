"""A client's connection, once it is admitted: bounded writes, and its end.

A connection is the protocol of its transport, and all that is kept for a client: it has no
task, no timer and no queue while nothing is to be done for it. ``ConnectionSweep`` looks after
the deadlines of all connections.
"""

import asyncio
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, ClassVar, Final, NamedTuple, Protocol

from gateway.auth.token_rules import Identity
from gateway.limits.connection_limiter import ConnectionSlot
from gateway.limits.rates import RateLimiter
from gateway.transport.channel_frames import ChannelFrames
from shared.http.lingering import LingeringConnection
from shared.http.upgrades import UpgradeRequest
from shared.protocol.channels import Channel
from shared.protocol.close_codes import Refusal
from shared.protocol.events import Reason
from shared.protocol.replay import Cursor

HIGH_WATER_BYTES: Final = 256 * 1024
LOW_WATER_BYTES: Final = 64 * 1024
MAX_UNREAD_BYTES: Final = 2 * HIGH_WATER_BYTES
DRAIN_POLL_SECONDS: Final = 0.05
CLOSE_SECONDS: Final = 5.0
GREETING_SECONDS: Final = 10.0
ABNORMAL_CLOSURE: Final = 1006  # what a WebSocket without a Close frame ends with


class Ending(NamedTuple):
    """How a connection ended: the first Close frame's code, 1006 without one, and why."""

    code: int
    reason: str


_LOST: Final = Ending(ABNORMAL_CLOSURE, "the connection was lost")
_UNREAD: Final = Ending(ABNORMAL_CLOSURE, "the client left too much unread")


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
    """A client's connection; ``clients`` has the kinds of client.

    Writing never waits and never raises. A client that has gone just ends; one that reads too
    slowly is seen by ``has_backpressure``.
    """

    __slots__ = (
        "_address",
        "_has_ended",
        "_http_limiter",
        "_may_be_full",
        "_rate_limiter",
        "_service",
        "_transport",
        "_unsent",
        "_warned_at_seconds",
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
    RESUMES: ClassVar[bool]  # whether the client keeps the cursor of each channel

    def __init__(
        self,
        request: UpgradeRequest,
        service: Service,
        slot: ConnectionSlot,
        identity: Identity,
        rate_limiter: RateLimiter,
    ) -> None:
        self._transport = request.transport
        self._http_limiter = request.limiter
        self._address = request.address
        self._service = service
        self._rate_limiter = rate_limiter
        self._has_ended = False
        self._may_be_full = False  # the buffer was, after the last write
        self._unsent = b""  # goes before the first frame: that saves each handshake a write
        self._warned_at_seconds: float | None = None  # before its token expires
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
            "received_frames": self.received_frames,
        }

    @property
    def received_frames(self) -> int:
        """How many frames the client has sent."""
        return 0

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

    @abstractmethod
    def send(self, payload: bytes) -> None:
        """Send one frame that is not of a channel."""

    @abstractmethod
    def deliver(self, frames: ChannelFrames) -> None:
        """Send frames of one of its channels."""

    def write(self, frames: bytes) -> None:
        """Send whole frames, encoded for this kind of connection.

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

    @abstractmethod
    def end(self, code: int, reason: str) -> None:
        """Begin to close; nothing is written afterwards. The connection ends after
        ``CLOSE_SECONDS`` in any case.
        """

    def _end(
        self, ending: Ending, last: bytes, is_answer: Callable[[bytes], bool] | None
    ) -> None:
        """Write these *last* bytes, and close; *is_answer* as in ``LingeringConnection``."""
        if not self._has_ended:
            self.ending = ending
            self.write(last)
            self._linger(CLOSE_SECONDS, is_answer)

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
        self._has_ended = True
        self._forget()

    def _forget(self) -> None:
        self._service.lost(self)

    @abstractmethod
    def check(self, now: float) -> None:
        """Keep a greeted client's connection alive, or abort it if its client has gone. Called
        when ``due_at`` has come, with the present time.
        """

    def _begin(self) -> None:
        """Note that the client has been greeted."""
        self.is_greeted = True

    def charge(self, cost: int) -> None:
        """Charge the client's rate for a message, in addition to its frames."""
        self._rate_limiter.charge(cost, asyncio.get_running_loop().time())

    def charge_replay(self, rows: int) -> None:
        """Charge the client's rate for rows replayed since a cursor that it sent."""
        self._rate_limiter.charge_replay(rows, asyncio.get_running_loop().time())

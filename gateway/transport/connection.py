"""One client's WebSocket: bounded writes, paced reads, and its end.

aiohttp answers the handshake and reads. Events are written past it, straight to the transport,
as frames that are encoded once for all subscribers. That is safe because aiohttp too writes
whole frames at once (compression is off), and because nothing is written once the close has
begun. Only this module and ``frame_reader`` rely on aiohttp's internals for that.
"""

import asyncio
import math
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Final, Self, cast

from aiohttp import WSMsgType, web

from gateway.auth.token_rules import Identity
from gateway.limits.rates import RateLimiter, RateVerdict
from gateway.transport.frame_reader import CLOSE_SECONDS, accept_socket, end_socket
from gateway.transport.websocket_frames import (
    encode_close_frame,
    encode_pong_frame,
    encode_text_frame,
)
from shared.http.connection import LINGER_SECONDS, HttpConnection
from shared.protocol.channels import Channel
from shared.protocol.close_codes import CloseCode, Refusal, rate_limited
from shared.protocol.events import Reason
from shared.protocol.replay import Cursor

HIGH_WATER_BYTES: Final = 256 * 1024
LOW_WATER_BYTES: Final = 64 * 1024
MAX_UNREAD_BYTES: Final = 2 * HIGH_WATER_BYTES
DRAIN_POLL_SECONDS: Final = 0.05
NO_IDENTITY: Final = Identity("", 0)  # of a socket that is opened only to be refused
_TOO_FAST: Final = rate_limited("too much at once: send less, or the socket is closed")


@dataclass(frozen=True, slots=True)
class OpenSocket:
    """A WebSocket after its handshake; ``end`` returns when the TCP connection is gone."""

    websocket: web.WebSocketResponse
    transport: asyncio.Transport
    end: Callable[[], Awaitable[None]]


class Connection(ABC):
    """A client's WebSocket; ``clients`` has the two kinds of client.

    Writing never waits and never raises. A client that has gone just ends; one that reads too
    slowly is seen by ``has_backpressure``.
    """

    __slots__ = (
        "_closers",
        "_end_socket",
        "_has_ended",
        "_rate_limiter",
        "_socket",
        "_transport",
        "greeted",
        "identity",
        "on_backpressure",
        "reported_live",
    )

    SUBPROTOCOLS: ClassVar[tuple[str, ...]]
    RESUMES: ClassVar[bool]  # whether the client keeps the cursor of each channel

    def __init__(
        self,
        socket: OpenSocket,
        closers: asyncio.TaskGroup,
        identity: Identity,
        rate_limiter: RateLimiter | None = None,
    ) -> None:
        self._socket = socket.websocket
        self._transport = socket.transport
        self._end_socket = socket.end
        self._closers = closers
        self._rate_limiter = rate_limiter
        self._has_ended = False
        self.identity = identity
        self.reported_live = True
        self.greeted = asyncio.Event()
        self.on_backpressure: Callable[[Connection], None] | None = None

    @classmethod
    async def accept(
        cls,
        request: web.Request,
        closers: asyncio.TaskGroup,
        *,
        max_message_bytes: int,
        identity: Identity = NO_IDENTITY,
        rate_limiter: RateLimiter | None = None,
    ) -> Self:
        """Answer the handshake.

        Without a *rate_limiter* the connection must be refused at once: nothing that its
        client sends is read.

        Raises:
            ConnectionResetError: the client has gone meanwhile.
        """
        websocket, transport, reader = await accept_socket(
            request, subprotocols=cls.SUBPROTOCOLS, max_message_bytes=max_message_bytes
        )
        http = cast("HttpConnection", request.protocol)  # the server makes no others
        seconds = CLOSE_SECONDS if rate_limiter is not None else LINGER_SECONDS
        end = partial(end_socket, websocket, http, seconds)
        socket = OpenSocket(websocket, transport, end)
        self = cls(socket, closers, identity, rate_limiter)
        if rate_limiter is not None:
            reader.start(self._judge_frames)
        return self

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
    def warn_of_expiry(self, seconds: float) -> None:
        """Warn a v1 client once that its token expires in so many seconds."""

    @abstractmethod
    def send_refusal(self, refusal: Refusal) -> None:
        """Send a v1 client the reason, as an error frame."""

    @abstractmethod
    async def serve(self, handle: Callable[[str], Awaitable[None]]) -> None:
        """Read until either side closes; *handle* answers a v1 client's messages."""

    def renew(self, identity: Identity) -> None:
        """Continue with a new token of the same user."""
        self.identity = identity

    def _judge_frames(self, frames: int) -> float:
        if self._rate_limiter is None:
            return 0.0
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
        if self._rate_limiter is not None:
            self._rate_limiter.charge(cost, asyncio.get_running_loop().time())

    def charge_replay(self, rows: int) -> None:
        """Charge the client's rate for rows replayed since a cursor that it sent."""
        if self._rate_limiter is not None:
            self._rate_limiter.charge_replay(rows, asyncio.get_running_loop().time())

    @property
    def response(self) -> web.WebSocketResponse:
        """What the request handler returns at the end."""
        return self._socket

    @property
    def user_id(self) -> str:
        return self.identity.user_id

    @property
    def has_backpressure(self) -> bool:
        """Whether the client leaves so much unread that nothing more should be queued."""
        return self._transport.get_write_buffer_size() > HIGH_WATER_BYTES

    @property
    def is_drained(self) -> bool:
        return self._transport.get_write_buffer_size() <= LOW_WATER_BYTES

    @property
    def _is_over(self) -> bool:
        return self._has_ended or self._socket.closed or self._transport.is_closing()

    def send(self, payload: bytes) -> None:
        """Send one text frame."""
        self.write(encode_text_frame(payload))

    def write(self, frames: bytes) -> None:
        """Send whole frames, as ``encode_text_frame`` makes them.

        This is the only place that bounds what a client leaves unread. Over
        ``HIGH_WATER_BYTES``, ``on_backpressure`` is called, and only what was already decided
        on is still written; over ``MAX_UNREAD_BYTES`` the connection is aborted.
        """
        if self._is_over:
            return
        unread = self._transport.get_write_buffer_size()
        if unread > HIGH_WATER_BYTES and unread + len(frames) > MAX_UNREAD_BYTES:
            self._transport.abort()
            return
        self._transport.write(frames)
        if self.on_backpressure is not None and self.has_backpressure:
            self.on_backpressure(self)

    def end_with(self, refusal: Refusal) -> None:
        """Begin to close, after an error frame to a v1 client."""
        if not self._has_ended:
            self.send_refusal(refusal)
            self.end(refusal.close, refusal.code)

    def end(self, code: CloseCode, reason: str) -> None:
        """Begin to close; nothing is written after the Close frame."""
        if not self._has_ended:
            self._closers.create_task(self.close(code, reason))

    async def refuse(self, refusal: Refusal) -> None:
        """Close, after an error frame to a v1 client: a browser can't read the status of a
        failed handshake.
        """
        self.send_refusal(refusal)
        await self.close(refusal.close, refusal.code)

    async def close(self, code: CloseCode, reason: str) -> None:
        """Close, and return when the connection is gone, which takes a limited time.

        What the client sends from now on is dropped, except its Close frame, which ends the
        connection.
        """
        if self._has_ended:
            return
        self.greeted.set()
        self.write(encode_close_frame(code, reason))
        self._has_ended = True
        await self._end_socket()

    async def messages(self) -> AsyncIterator[str]:
        """Yield the client's text messages until either side closes.

        Reading is no faster than the client reads its answers and than its rate allows, and
        lets other tasks run after each message.
        """
        async for message in self._socket:
            if message.type is WSMsgType.TEXT and not self._has_ended:
                yield message.data
            elif message.type is WSMsgType.BINARY:
                self.end(CloseCode.UNSUPPORTED_DATA, "text frames only")
            elif message.type is WSMsgType.PING:
                self.write(encode_pong_frame(message.data))
            await asyncio.sleep(0)
            while self._must_wait() and not self._is_over:  # noqa: ASYNC110 no event
                await asyncio.sleep(DRAIN_POLL_SECONDS)
        if not self._has_ended:
            await self._socket.close()  # the client's Close is answered

    def _must_wait(self) -> bool:
        return self.has_backpressure or (not self._has_ended and self._judge_frames(0) > 0)

"""One client's socket: with ``frame_reader`` the only room that knows aiohttp's internals.

aiohttp does the handshake, reads, and answers pings; events are written past it, as frames
built once for all subscribers, straight to the transport. That is safe because aiohttp too
writes whole frames at once (compression is off), and because nothing is written once its side
has begun to close.
"""

import asyncio
import math
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import Final, cast

from aiohttp import WSMsgType, web

from gateway.auth.token_rules import Identity
from gateway.limits.rates import RateLimiter, RateVerdict
from gateway.transport.frame_reader import CLOSE_SECONDS, accept_socket, end_socket
from shared.http.connection import LINGER_SECONDS, HttpConnection
from shared.protocol.channels import Channel
from shared.protocol.close_codes import CloseCode, Refusal, rate_limited
from shared.protocol.messages import (
    Reason,
    connected_frame,
    encode_close_frame,
    encode_pong_frame,
    encode_text_frame,
    error_frame,
    reconnect_frame,
    status_frame,
    subscribed_frame,
    token_expiring_frame,
    unsubscribed_frame,
)
from shared.protocol.replay import Cursor

HIGH_WATER_BYTES: Final = 256 * 1024
LOW_WATER_BYTES: Final = 64 * 1024
MAX_UNREAD_BYTES: Final = 2 * HIGH_WATER_BYTES
DRAIN_POLL_SECONDS: Final = 0.05
EXPIRY_WARNING_SECONDS: Final = 60.0
NOBODY: Final = Identity("", 0)  # of a socket that is opened only to be refused
_TOO_FAST: Final = rate_limited("too much at once: send less, or the socket is closed")


class Connection:
    """A subscriber. Writing never waits and never raises.

    A client that is gone just ends. One that is too slow is told apart by ``is_full``.
    """

    __slots__ = (
        "_closers",
        "_end_socket",
        "_has_ended",
        "_owed",
        "_pacer",
        "_socket",
        "_transport",
        "_warned_at_seconds",
        "greeted",
        "identity",
        "is_v1",
        "told_live",
        "when_full",
    )

    def __init__(
        self,
        websocket: web.WebSocketResponse,
        transport: asyncio.Transport,
        closers: asyncio.TaskGroup,
        *,
        end_socket: Callable[[], Awaitable[None]],
        is_v1: bool,
        identity: Identity,
        pacer: RateLimiter | None = None,
    ) -> None:
        self._pacer = pacer
        self._socket = websocket
        self._transport = transport
        self._closers = closers
        self._end_socket = end_socket
        self._has_ended = False
        self._owed: tuple[Reason, str | None] | None = None
        self.is_v1 = is_v1
        self.identity = identity
        self._warned_at_seconds: float | None = None
        self.told_live = True
        self.greeted = asyncio.Event()
        self.when_full: Callable[[Connection], None] | None = (
            None  # nothing more is queued then
        )

    @classmethod
    async def accept(
        cls,
        request: web.Request,
        closers: asyncio.TaskGroup,
        *,
        is_v1: bool,
        max_message_bytes: int,
        identity: Identity = NOBODY,
        pacer: RateLimiter | None = None,
    ) -> "Connection":
        """Answer the handshake. Without a *pacer* it must be refused at once: nothing that its
        client sends is read.

        Raises ``ConnectionResetError`` if the client has gone meanwhile.
        """
        websocket, transport, reader = await accept_socket(
            request, is_v1=is_v1, max_message_bytes=max_message_bytes
        )
        http = cast("HttpConnection", request.protocol)  # the server makes no others
        seconds = CLOSE_SECONDS if pacer is not None else LINGER_SECONDS
        self = cls(
            websocket,
            transport,
            closers,
            end_socket=partial(end_socket, websocket, http, seconds),
            is_v1=is_v1,
            identity=identity,
            pacer=pacer,
        )
        if pacer is not None:
            reader.start(self._judge_frames)
        return self

    def _judge_frames(self, frames: int) -> float:
        if self._pacer is None:
            return 0.0
        now = asyncio.get_running_loop().time()
        pace = self._pacer.judge(frames, now)
        if pace is RateVerdict.FLOOD:
            self.end(_TOO_FAST.close, _TOO_FAST.code)
            return math.inf
        if pace is RateVerdict.TOO_FAST and self.is_v1:
            self.write(encode_text_frame(error_frame(_TOO_FAST.code, _TOO_FAST.message)))
        return self._pacer.wait_seconds(now)

    def charge(self, cost: int) -> None:
        """What it asked for costs so much beside its frames."""
        if self._pacer is not None:
            self._pacer.charge(cost, asyncio.get_running_loop().time())

    def charge_replay(self, rows: int) -> None:
        """It named a place since which so many rows are told."""
        if self._pacer is not None:
            self._pacer.charge_replay(rows, asyncio.get_running_loop().time())

    @property
    def response(self) -> web.WebSocketResponse:
        """What the request handler returns at the end."""
        return self._socket

    @property
    def user_id(self) -> str:
        return self.identity.user_id

    def renew(self, identity: Identity) -> None:
        """Go on with a fresh token of the same user."""
        self.identity = identity
        self._warned_at_seconds = None

    @property
    def is_full(self) -> bool:
        """Whether nothing more should be written, beyond what was already meant for it."""
        return self._transport.get_write_buffer_size() > HIGH_WATER_BYTES

    @property
    def is_drained(self) -> bool:
        return self._transport.get_write_buffer_size() <= LOW_WATER_BYTES

    @property
    def _is_over(self) -> bool:
        return self._has_ended or self._socket.closed or self._transport.is_closing()

    def write(self, frames: bytes) -> None:
        """Send whole frames, as ``encode_text_frame`` makes them.

        The one place where the bound on what a client leaves unread is kept: over
        ``HIGH_WATER_BYTES`` it falls behind, and is told only what had been decided by then;
        if that is too much, it is cut off.
        """
        if self._is_over:
            return
        unread = self._transport.get_write_buffer_size()
        if unread > HIGH_WATER_BYTES and unread + len(frames) > MAX_UNREAD_BYTES:
            self._transport.abort()
            return
        self._transport.write(frames)
        if self.when_full is not None and self.is_full:
            self.when_full(self)

    def greet(self, places: Sequence[Cursor], resumed: Sequence[Channel]) -> None:
        """The first frame: what the client fetched before it may be stale, but for what is
        resumed; nothing after it is missed.
        """
        if self.is_v1:
            self.write(encode_text_frame(connected_frame(places, resumed=resumed)))
        else:
            self.write(encode_text_frame(reconnect_frame("connected")))
        self.greeted.set()

    def answer_subscribe(self, place: Cursor, *, resumed: bool) -> None:
        self.write(encode_text_frame(subscribed_frame(place, resumed=resumed)))

    def reset(
        self,
        places: Sequence[Cursor],
        reason: Reason,
        *,
        project_id: str | None,
        spread_seconds: float,
    ) -> None:
        """Everything of the project, or everything, may be stale up to these places.

        A v1 client is told at once, and over how many seconds to spread what follows. A plain
        client knows nothing of that: it is told at a random time within them.
        """
        if self.is_v1:
            spread_ms = round(spread_seconds * 1000)
            frame = reconnect_frame(
                reason, project_id=project_id, spread_ms=spread_ms, cursors=places
            )
            self.write(encode_text_frame(frame))
        elif self._owed is None:
            self._owed = (reason, project_id)
            delay = random.uniform(0, spread_seconds)  # noqa: S311 no secret
            asyncio.get_running_loop().call_later(delay, self._pay)
        elif project_id != self._owed[1]:
            self._owed = (reason, None)

    def _pay(self) -> None:
        if self._owed is not None:
            reason, project_id = self._owed
            self._owed = None
            self.write(encode_text_frame(reconnect_frame(reason, project_id=project_id)))

    def tell_revoked(self, project_id: str) -> None:
        """Its user lost the project; it goes on with its others."""
        self.write(encode_text_frame(unsubscribed_frame(project_id, "revoked")))

    def tell_access_changed(self, project_id: str) -> None:
        frame = reconnect_frame("access_changed", project_id=project_id)
        self.write(encode_text_frame(frame))

    def tell_live(self, *, live: bool) -> None:
        self.told_live = live
        self.write(encode_text_frame(status_frame(live=live)))

    def warn_of_expiry(self, seconds: float) -> None:
        """Tell a v1 client once that its token ends soon: a minute ahead, or in the middle of a
        short life, else a fresh one would be asked for again at once.
        """
        if self._warned_at_seconds is None:
            self._warned_at_seconds = min(EXPIRY_WARNING_SECONDS, seconds / 2)
        if self.is_v1 and 0 <= seconds <= self._warned_at_seconds:
            self._warned_at_seconds = -math.inf
            self.write(encode_text_frame(token_expiring_frame(round(seconds))))

    def end_with(self, refusal: Refusal) -> None:
        """Begin to close for a reason that a v1 client is told in words, too."""
        if not self._has_ended:
            if self.is_v1:
                self.write(encode_text_frame(error_frame(refusal.code, refusal.message)))
            self.end(refusal.close, refusal.code)

    def end(self, code: CloseCode, reason: str) -> None:
        """Begin to close; nothing is written any more."""
        if not self._has_ended:
            self._closers.create_task(self.close(code, reason))

    async def refuse(self, refusal: Refusal) -> None:
        """Tell a v1 client why not, and close.

        A browser can't read the status of a failed handshake.
        """
        if self.is_v1:
            self.write(encode_text_frame(error_frame(refusal.code, refusal.message)))
        await self.close(refusal.close, refusal.code)

    async def close(self, code: CloseCode, reason: str) -> None:
        """Close, and return when the connection is gone, which takes a limited time.

        What the client sends from now on is dropped, but for its answer, which ends the
        connection.
        """
        if self._has_ended:
            return
        self.greeted.set()
        self.write(encode_close_frame(code, reason))
        self._has_ended = True
        await self._end_socket()

    async def messages(self) -> AsyncIterator[str]:
        """What the client sends, until it or we close; no faster than it reads answers and may
        send, and each after the others' turn.
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
        return self.is_full or (not self._has_ended and self._judge_frames(0) > 0)

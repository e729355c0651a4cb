"""A stream of server-sent events, for networks that block WebSockets."""

import asyncio
import random
from collections.abc import Mapping, Sequence
from typing import ClassVar, Final, Self

from gateway.auth.token_rules import Identity
from gateway.limits.connection_limiter import ConnectionSlot
from gateway.limits.rates import RateLimiter
from gateway.transport.channel_frames import ChannelFrames
from gateway.transport.clients import V1Connection
from gateway.transport.connection import Ending, Service
from gateway.transport.sse_events import (
    COMMENT,
    encode_end,
    encode_event,
    encode_stream_head,
)
from shared.http.upgrades import UpgradeRequest
from shared.protocol.channels import Channel
from shared.protocol.close_codes import Refusal
from shared.protocol.events import Reason
from shared.protocol.frames import PING_INTERVAL_SECONDS, close_frame, error_frame
from shared.protocol.replay import Cursor

COMMENT_SECONDS: Final = PING_INTERVAL_SECONDS / 2
_MIN_RETRY_MS: Final = 1000
_MAX_RETRY_MS: Final = 5000


class EventStream(V1Connection):
    """Is sent v1 frames as events, each with the cursors from which the client resumes.

    The cursors are those of the frames that were written. What is subscribed to may be ahead of
    them: the frames of several channels are decided on before any is written.
    """

    __slots__ = ("_cursors", "_refused")

    KIND: ClassVar[str] = "sse"

    def __init__(
        self,
        request: UpgradeRequest,
        service: Service,
        slot: ConnectionSlot,
        identity: Identity,
        rate_limiter: RateLimiter,
        refused: Mapping[str, Refusal],
    ) -> None:
        super().__init__(request, service, slot, identity, rate_limiter)
        self._cursors: dict[Channel, bytes] = {}
        self._refused = refused  # until the greeting

    @classmethod
    def accept(
        cls,
        request: UpgradeRequest,
        headers: Mapping[str, str],
        service: Service,
        slot: ConnectionSlot,
        identity: Identity,
        *,
        rate_limiter: RateLimiter,
        refused: Mapping[str, Refusal],
    ) -> Self:
        """Answer with *headers*, and the first event. The client learns after its greeting
        which projects it is *refused*, by their ids as it wrote them.
        """
        self = cls(request, service, slot, identity, rate_limiter, refused)
        retry_ms = random.randint(_MIN_RETRY_MS, _MAX_RETRY_MS)  # noqa: S311 no secret
        self._unsent = encode_stream_head(headers, retry_ms)
        request.switch(self)
        return self

    def greet(self, cursors: Sequence[Cursor], resumed: Sequence[Channel]) -> None:
        self._note(cursors)
        super().greet(cursors, resumed)
        for project_id, refusal in self._refused.items():
            self.send(error_frame(refusal.code, refusal.message, project_id=project_id))
        self._refused = {}
        self.due_at = asyncio.get_running_loop().time() + COMMENT_SECONDS

    def reset(
        self,
        cursors: Sequence[Cursor],
        reason: Reason,
        *,
        project_id: str | None,
        spread_seconds: float,
    ) -> None:
        self._note(cursors)
        super().reset(cursors, reason, project_id=project_id, spread_seconds=spread_seconds)

    def revoke(self, project_id: str, *, has_others: bool) -> None:
        self._cursors.pop(Channel("project", project_id), None)
        super().revoke(project_id, has_others=has_others)

    def _note(self, cursors: Sequence[Cursor]) -> None:
        for cursor in cursors:
            self._cursors[cursor.channel] = str(cursor).encode()

    def send(self, payload: bytes) -> None:
        self.write(encode_event(payload) + self._end_of_event())

    def deliver(self, frames: ChannelFrames) -> None:
        self._cursors[frames.channel] = frames.cursor
        self.write(frames.event_stream + self._end_of_event())

    def _end_of_event(self) -> bytes:
        return encode_end(list(self._cursors.values()))

    def end(self, code: int, reason: str) -> None:
        """Write the code and the reason as the last event, and end the response."""
        last = encode_event(close_frame(code, reason)) + self._end_of_event()
        self._end(Ending(code, reason), last, None)

    def check(self, now: float) -> None:
        """Write a comment, so that neither the client nor a proxy takes the connection for
        dead. Nothing answers it: the kernel ends a connection that acknowledges nothing.
        """
        self.due_at = now + COMMENT_SECONDS
        self.write(COMMENT)

    def data_received(self, data: bytes) -> None:
        """Leave what follows the request in the kernel, which bounds it."""
        self._transport.pause_reading()

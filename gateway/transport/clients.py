"""The two kinds of client, and what each is sent (wire.md)."""

import asyncio
import math
import random
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Final

from gateway.auth.token_rules import Identity
from gateway.transport.connection import Connection
from gateway.transport.frame_parser import ends_with_close
from gateway.transport.websocket_frames import (
    encode_close_frame,
    encode_handshake,
    encode_text_frame,
)
from shared.http.upgrades import UpgradeRequest
from shared.protocol.channels import Channel
from shared.protocol.close_codes import CloseCode, Refusal
from shared.protocol.events import Reason
from shared.protocol.frames import (
    SUBPROTOCOL,
    connected_frame,
    error_frame,
    reconnect_frame,
    status_frame,
    subscribed_frame,
    token_expiring_frame,
    unsubscribed_frame,
)
from shared.protocol.replay import Cursor

EXPIRY_WARNING_SECONDS: Final = 60.0


class PlainClient(Connection):
    """Has one project, gets events and ``reconnect`` frames, and is promised no answers."""

    __slots__ = ("_pending_reset",)

    KIND: ClassVar[str] = "plain"
    SUBPROTOCOL: ClassVar[str | None] = None
    RESUMES: ClassVar[bool] = False

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._pending_reset: tuple[Reason, str | None] | None = None

    def greet(self, cursors: Sequence[Cursor], resumed: Sequence[Channel]) -> None:
        self.send(reconnect_frame("connected"))
        self._begin()

    def confirm_subscription(self, cursor: Cursor, *, resumed: bool) -> None:
        """Do nothing: a plain client can't subscribe."""

    def reset(
        self,
        cursors: Sequence[Cursor],
        reason: Reason,
        *,
        project_id: str | None,
        spread_seconds: float,
    ) -> None:
        """Send it at a random time: a plain client does not spread its fetches itself. Resets
        that come meanwhile are merged into one.
        """
        if self._pending_reset is None:
            self._pending_reset = (reason, project_id)
            delay = random.uniform(0, spread_seconds)  # noqa: S311 no secret
            asyncio.get_running_loop().call_later(delay, self._send_pending_reset)
        elif project_id != self._pending_reset[1]:
            self._pending_reset = (reason, None)

    def _send_pending_reset(self) -> None:
        if self._pending_reset is not None:
            reason, project_id = self._pending_reset
            self._pending_reset = None
            self.send(reconnect_frame(reason, project_id=project_id))

    def revoke(self, project_id: str, *, has_others: bool) -> None:
        self.end(CloseCode.FORBIDDEN, "forbidden")

    def send_access_changes(self, project_ids: Iterable[str]) -> None:
        """Send a reset of each project: what was fetched of it while the user had no access
        may be a refusal, and a plain client does not derive that from the events.
        """
        for project_id in project_ids:
            self.send(reconnect_frame("access_changed", project_id=project_id))

    def warn_of_expiry(self, seconds: float) -> float:
        """Do nothing: a plain client has no frame for it."""
        return -math.inf

    def send_refusal(self, refusal: Refusal) -> None:
        """Do nothing: a plain client gets an HTTP status or a close code."""

    async def handle(self, text: str) -> None:
        """Do nothing: a plain client's messages mean nothing."""


class V1Client(Connection):
    """Speaks ``neverstale.v1``: subscribes, resumes, renews its token, and gets errors as
    frames.
    """

    __slots__ = ("_warned_at_seconds",)

    KIND: ClassVar[str] = "v1"
    SUBPROTOCOL: ClassVar[str | None] = SUBPROTOCOL
    RESUMES: ClassVar[bool] = True

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._warned_at_seconds: float | None = None

    def greet(self, cursors: Sequence[Cursor], resumed: Sequence[Channel]) -> None:
        self.send(connected_frame(cursors, resumed=resumed))
        self._begin()

    def confirm_subscription(self, cursor: Cursor, *, resumed: bool) -> None:
        self.send(subscribed_frame(cursor, resumed=resumed))

    def reset(
        self,
        cursors: Sequence[Cursor],
        reason: Reason,
        *,
        project_id: str | None,
        spread_seconds: float,
    ) -> None:
        """Send it at once, with the time over which the client is to spread its fetches."""
        spread_ms = round(spread_seconds * 1000)
        self.send(
            reconnect_frame(reason, project_id=project_id, spread_ms=spread_ms, cursors=cursors)
        )

    def revoke(self, project_id: str, *, has_others: bool) -> None:
        if has_others:
            self.send(unsubscribed_frame(project_id, "revoked"))
        else:
            self.end(CloseCode.FORBIDDEN, "forbidden")

    def send_access_changes(self, project_ids: Iterable[str]) -> None:
        """Do nothing: a v1 client derives them from the events."""

    def report_liveness(self, *, live: bool) -> None:
        super().report_liveness(live=live)
        self.send(status_frame(live=live))

    def renew(self, identity: Identity) -> None:
        super().renew(identity)
        self._warned_at_seconds = None

    def warn_of_expiry(self, seconds: float) -> float:
        """Warn a minute ahead, or at half of a shorter life: else the client would have to
        renew a new token at once.
        """
        if self._warned_at_seconds is None:
            self._warned_at_seconds = min(EXPIRY_WARNING_SECONDS, seconds / 2)
        if 0 <= seconds <= self._warned_at_seconds:
            self._warned_at_seconds = -math.inf
            self.send(token_expiring_frame(round(seconds)))
        return self._warned_at_seconds

    def send_refusal(self, refusal: Refusal) -> None:
        self.send(error_frame(refusal.code, refusal.message))

    async def handle(self, text: str) -> None:
        await self._service.handle(self, text)

    @classmethod
    def refuse(cls, request: UpgradeRequest, key: str, refusal: Refusal) -> None:
        """Open the WebSocket and close it at once, because a browser can't read the status of a
        failed handshake. Nothing that the client sends is read.
        """
        error = error_frame(refusal.code, refusal.message)
        sent = (
            encode_handshake(key, cls.SUBPROTOCOL),
            encode_text_frame(error),
            encode_close_frame(refusal.close, refusal.code),
        )
        request.refuse(b"".join(sent), ends_with_close)

"""Frames that a gateway itself sends to its clients (wire.md)."""

from collections.abc import Sequence
from typing import Any, Final, Literal

import orjson

from shared.protocol.channels import Channel
from shared.protocol.events import Reason
from shared.protocol.replay import Cursor

SUBPROTOCOL: Final = "neverstale.v1"

PING_INTERVAL_SECONDS: Final = 30


def reconnect_frame(
    reason: Reason,
    *,
    project_id: str | None = None,
    spread_ms: int | None = None,
    cursors: Sequence[Cursor] | None = None,
) -> bytes:
    """The gateway's own ``reconnect``.

    Everything of the project, or everything, may be stale.
    """
    frame: dict[str, Any] = {"type": "reconnect", "data": {"reason": reason}}
    if project_id is not None:
        frame["project_id"] = project_id
    if spread_ms is not None:
        frame["spread_ms"] = spread_ms
    if cursors is not None:
        frame["cursors"] = _by_channel(cursors)
    return orjson.dumps(frame)


def connected_frame(cursors: Sequence[Cursor], *, resumed: Sequence[Channel]) -> bytes:
    """A v1 client's first frame; channels of *cursors* that are not in *resumed* are reset by
    it.
    """
    return orjson.dumps(
        {
            "type": "connected",
            "cursors": _by_channel(cursors),
            "resumed": [channel.name for channel in resumed],
            "heartbeat": PING_INTERVAL_SECONDS,
        }
    )


def subscribed_frame(place: Cursor, *, resumed: bool) -> bytes:
    """The answer to ``subscribe``: what ``connected`` says, of one project."""
    return orjson.dumps(
        {
            "type": "subscribed",
            "project_id": place.channel.id,
            "cursor": str(place),
            "resumed": resumed,
        }
    )


def unsubscribed_frame(project_id: str, reason: Literal["requested", "revoked"]) -> bytes:
    return orjson.dumps({"type": "unsubscribed", "project_id": project_id, "reason": reason})


def status_frame(*, live: bool) -> bytes:
    """Whether changes are told as they happen; while not, a client may poll."""
    return orjson.dumps({"type": "status", "live": live})


def token_expiring_frame(seconds: int) -> bytes:
    """A v1 client's token ends in so many seconds: it should send ``auth``."""
    return orjson.dumps({"type": "token_expiring", "in": seconds})


def auth_ok_frame(seconds: int) -> bytes:
    """The answer to ``auth``: the new token lasts so many seconds."""
    return orjson.dumps({"type": "auth_ok", "expires_in": seconds})


def error_frame(code: str, message: str, *, project_id: str | None = None) -> bytes:
    frame = {"type": "error", "code": code, "message": message}
    if project_id is not None:
        frame["project_id"] = project_id
    return orjson.dumps(frame)


def error_body(code: str, message: str) -> bytes:
    """The body of an HTTP refusal."""
    return orjson.dumps({"error": {"code": code, "message": message}})


PONG_FRAME: Final = b'{"type":"pong"}'


def _by_channel(cursors: Sequence[Cursor]) -> dict[str, str]:
    return {cursor.channel.name: str(cursor) for cursor in cursors}

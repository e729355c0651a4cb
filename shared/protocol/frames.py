"""Payloads that a gateway makes itself: frames to clients, and HTTP errors (wire.md)."""

from collections.abc import Sequence
from typing import Any, Final, Literal

import orjson

from shared.protocol.channels import Channel
from shared.protocol.events import Reason
from shared.protocol.replay import Cursor

SUBPROTOCOL: Final = "neverstale.v1"
PING_INTERVAL_SECONDS: Final = 30
PONG_FRAME: Final = b'{"type":"pong"}'


def reconnect_frame(
    reason: Reason,
    *,
    project_id: str | None = None,
    spread_ms: int | None = None,
    cursors: Sequence[Cursor] | None = None,
) -> bytes:
    """A reset: everything of the project, or everything at all, may be stale."""
    frame: dict[str, Any] = {"type": "reconnect", "data": {"reason": reason}}
    if project_id is not None:
        frame["project_id"] = project_id
    if spread_ms is not None:
        frame["spread_ms"] = spread_ms
    if cursors is not None:
        frame["cursors"] = _by_channel(cursors)
    return orjson.dumps(frame)


def connected_frame(cursors: Sequence[Cursor], *, resumed: Sequence[Channel]) -> bytes:
    """The greeting of a v1 client; it resets the channels of *cursors* but not *resumed*."""
    return orjson.dumps(
        {
            "type": "connected",
            "cursors": _by_channel(cursors),
            "resumed": [channel.name for channel in resumed],
            "heartbeat": PING_INTERVAL_SECONDS,
        }
    )


def subscribed_frame(cursor: Cursor, *, resumed: bool) -> bytes:
    """The answer to ``subscribe``: like ``connected``, for one project."""
    return orjson.dumps(
        {
            "type": "subscribed",
            "project_id": cursor.channel.id,
            "cursor": str(cursor),
            "resumed": resumed,
        }
    )


def unsubscribed_frame(project_id: str, reason: Literal["requested", "revoked"]) -> bytes:
    return orjson.dumps({"type": "unsubscribed", "project_id": project_id, "reason": reason})


def status_frame(*, live: bool) -> bytes:
    """Whether events arrive as changes happen; while they do not, a client may poll."""
    return orjson.dumps({"type": "status", "live": live})


def token_expiring_frame(seconds: int) -> bytes:
    """The token expires in so many seconds: the client should send ``auth``."""
    return orjson.dumps({"type": "token_expiring", "in": seconds})


def auth_ok_frame(seconds: int) -> bytes:
    """The answer to ``auth``: the new token expires in so many seconds."""
    return orjson.dumps({"type": "auth_ok", "expires_in": seconds})


def error_frame(code: str, message: str, *, project_id: str | None = None) -> bytes:
    frame = {"type": "error", "code": code, "message": message}
    if project_id is not None:
        frame["project_id"] = project_id
    return orjson.dumps(frame)


def close_frame(code: int, reason: str) -> bytes:
    """The last event of a stream, in place of a WebSocket's Close frame."""
    return orjson.dumps({"type": "close", "code": code, "reason": reason})


def error_body(code: str, message: str) -> bytes:
    """The body of a refused HTTP request."""
    return orjson.dumps({"error": {"code": code, "message": message}})


def _by_channel(cursors: Sequence[Cursor]) -> dict[str, str]:
    return {cursor.channel.name: str(cursor) for cursor in cursors}

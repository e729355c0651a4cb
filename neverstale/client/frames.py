"""The frames of neverstale.v1 as a client reads them: docs/reference/wire.md, section 2."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Any, Final, TypeAlias, cast, get_args
from urllib.parse import urlsplit, urlunsplit

from neverstale.client.messages import Action

SUBPROTOCOL: Final = "neverstale.v1"


class CloseCode(IntEnum):
    """Those that decide what the client does next."""

    DRAINING = 1012
    BAD_REQUEST = 4400
    UNAUTHORIZED = 4401
    FORBIDDEN = 4403


class MalformedFrame(ValueError):
    """The text is no frame of a gateway."""


@dataclass(frozen=True, slots=True)
class Connected:
    cursors: Mapping[str, str]
    resumed: frozenset[str]
    heartbeat_seconds: float


@dataclass(frozen=True, slots=True)
class Subscribed:
    project_id: str
    cursor: str
    is_resumed: bool


@dataclass(frozen=True, slots=True)
class Unsubscribed:
    project_id: str
    is_revoked: bool


@dataclass(frozen=True, slots=True)
class Changed:
    """An event. ``is_access_change``: on the user's channel, and the user may have gained or
    lost access to the project.
    """

    resource: str
    id: str
    action: Action
    project_id: str | None
    timestamp: datetime
    is_access_change: bool
    channel: str
    cursor: str


@dataclass(frozen=True, slots=True)
class Reconnect:
    project_id: str | None
    reason: str
    spread_seconds: float
    cursors: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Liveness:
    is_live: bool


@dataclass(frozen=True, slots=True)
class TokenExpiring:
    pass


@dataclass(frozen=True, slots=True)
class Error:
    code: str
    message: str
    project_id: str | None

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


@dataclass(frozen=True, slots=True)
class Other:
    """A frame that needs no reaction, or is of a newer version."""


Frame: TypeAlias = (
    Connected
    | Subscribed
    | Unsubscribed
    | Changed
    | Reconnect
    | Liveness
    | TokenExpiring
    | Error
    | Other
)


def parse_frame(text: str) -> Frame:
    """The frame that a text message spells. Fields that nobody knows are ignored.

    Raises:
        MalformedFrame: it is no JSON object with a type, or a known type without its fields.
    """
    try:
        return _parse(json.loads(text))
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        raise MalformedFrame("malformed frame") from exc


def _parse(frame: dict[str, Any]) -> Frame:
    match _text(frame["type"]):
        case "cache_invalidate":
            return _parse_changed(frame)
        case "reconnect":
            return Reconnect(
                _optional_text(frame.get("project_id")),
                _text(frame["data"]["reason"]),
                frame.get("spread_ms", 0) / 1000,
                _texts(frame.get("cursors", {})),
            )
        case "connected":
            resumed = frozenset(_text(name) for name in frame["resumed"])
            return Connected(_texts(frame["cursors"]), resumed, float(frame["heartbeat"]))
        case "subscribed":
            project_id, cursor = _text(frame["project_id"]), _text(frame["cursor"])
            return Subscribed(project_id, cursor, frame["resumed"] is True)
        case "unsubscribed":
            return Unsubscribed(_text(frame["project_id"]), frame["reason"] == "revoked")
        case "status":
            return Liveness(frame["live"] is True)
        case "token_expiring":
            return TokenExpiring()
        case "error":
            code, message = _text(frame["code"]), _text(frame["message"])
            return Error(code, message, _optional_text(frame.get("project_id")))
        case _:
            return Other()


def _parse_changed(frame: dict[str, Any]) -> Changed:
    resource, action, data = _text(frame["resource"]), frame["action"], frame["data"]
    channel, project_id = _text(frame["channel"]), _optional_text(frame["project_id"])
    if action not in get_args(Action):
        raise ValueError(action)
    # Servers mark these events with `access`; the names cover older servers.
    may_change_access = (
        frame.get("access") is True
        or resource == "project_members"
        or (resource == "project" and action != "UPDATE")
    )
    return Changed(
        resource,
        _text(data["id"]),
        cast(Action, action),
        project_id,
        datetime.fromisoformat(data["timestamp"]),
        may_change_access and project_id is not None and is_user_channel(channel),
        channel,
        _text(frame["cursor"]),
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("must be text")
    return value


def _optional_text(value: object) -> str | None:
    return None if value is None else _text(value)


def _texts(values: dict[str, object]) -> dict[str, str]:
    return {name: _text(value) for name, value in values.items()}


def project_channel(project_id: str) -> str:
    return f"project:{project_id}"


def project_of(channel: str) -> str:
    """The project of a project's channel."""
    return channel.removeprefix("project:")


def is_user_channel(channel: str) -> bool:
    return channel.startswith("user:")


def parse_endpoint(url: str) -> str:
    """The address of a gateway's WebSocket, without a query.

    Raises:
        ValueError: it is no URL of ws, wss, http or https.
    """
    scheme, host, path, _, _ = urlsplit(url)
    if scheme not in ("ws", "wss", "http", "https") or not host:
        raise ValueError("url must be a gateway's endpoint, wss://HOST/api/v1/messages/ws")
    return urlunsplit((scheme, host, path, "", ""))

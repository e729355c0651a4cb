"""Events and resets as channels carry them: the listener writes them, gateways read them."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, TypeAlias, cast, get_args

import orjson

from shared.protocol.channels import Channel
from shared.protocol.replay import Cursor, cursor_head, parse_cursor

RECONNECT_MEMBER: Final = b"*"

_EPOCH_START: Final = datetime(1970, 1, 1, tzinfo=UTC)

Action: TypeAlias = Literal["INSERT", "UPDATE", "DELETE"]

ACTIONS: Final[tuple[Action, ...]] = ("INSERT", "UPDATE", "DELETE")

Reason: TypeAlias = Literal[
    "connected",
    "notify_reconnect",
    "gap",
    "lagged",
    "bulk_change",
    "truncate",
    "log_lost",
    "log_full",
    "access_changed",
]


def as_reason(text: str) -> Reason:
    """The reason of that name; an unknown one (a newer version's) reads as ``gap``."""
    return cast(Reason, text) if text in get_args(Reason) else "gap"


@dataclass(frozen=True, slots=True)
class Event:
    """One invalidation: a row that changed, and when (UTC); of no project: its user's alone."""

    resource: str
    id: str
    action: Action
    project_id: str | None
    at: datetime


@dataclass(frozen=True, slots=True)
class Publishable:
    """What ``publish.lua`` needs of one event.

    Its member of the channel log, and its frame around the cursor.
    """

    member: bytes
    head: bytes
    tail: bytes


def publishable_event(event: Event, channel: Channel) -> Publishable:
    """An event as all clients of *channel* get it, but for the cursor."""
    frame = {
        "type": "cache_invalidate",
        "resource": event.resource,
        "action": event.action,
        "project_id": event.project_id,
        "data": {
            "resource": event.resource,
            "id": event.id,
            "action": event.action,
            "project_id": event.project_id,
            "timestamp": format_timestamp(event.at),
        },
        "channel": channel.name,
    }
    return Publishable(
        member=orjson.dumps([event.resource, event.id, event.action, event.project_id]),
        head=orjson.dumps(frame)[:-1] + b',"cursor":"' + cursor_head(channel).encode(),
        tail=b'"}',
    )


def publishable_reconnect(reason: Reason, channel: Channel) -> Publishable:
    """A ``reconnect`` that comes through a channel's log: all of that channel is stale."""
    frame: dict[str, Any] = {"type": "reconnect", "data": {"reason": reason}}
    if channel.kind == "project":
        frame["project_id"] = channel.id
    head = b',"cursors":{' + orjson.dumps(channel.name) + b':"' + cursor_head(channel).encode()
    return Publishable(RECONNECT_MEMBER, orjson.dumps(frame)[:-1] + head, b'"}}')


def replayed_frame(member: bytes, place: Cursor) -> bytes:
    """A channel log's member as the frame that clients got, or would have got, at *place*.

    Its timestamp is its offset's; of a widened change the reason is not kept. Total: what no
    ``publish.lua`` of ours wrote is widened too.
    """
    try:
        resource, row_id, action, project_id = orjson.loads(member)
    except (TypeError, ValueError):
        part = publishable_reconnect("bulk_change", place.channel)
    else:
        at = _EPOCH_START + timedelta(microseconds=place.offset)
        event = Event(resource, row_id, action, project_id, at)
        part = publishable_event(event, place.channel)
    return part.head + f"{place.epoch}.{place.offset}".encode() + part.tail


def cursor_of(frame: bytes) -> Cursor | None:
    """The cursor of a frame as it came from a channel: by construction its last string."""
    end = frame.rfind(b'"')
    start = frame.rfind(b'"', 0, max(end, 0))
    if start < 0:
        return None
    return parse_cursor(frame[start + 1 : end].decode(errors="replace"))


def row_of(frame: bytes) -> bytes:
    """What frames about the same channel, resource, id and action have in common, and no
    others.

    Frames of one channel are alike up to their timestamp exactly then; a quote inside a JSON
    string is escaped, so the mark can't occur in an id.
    """
    return frame[: frame.find(b',"timestamp":"')]


def access_change_of(frame: bytes) -> tuple[str, bool] | None:
    """The project that a frame of a user's own channel names, and whether that user may have
    got or lost it; None: it names none, or is no such frame.
    """
    try:
        message = orjson.loads(frame)
        project_id, resource, action = (
            message[key] for key in ("project_id", "resource", "action")
        )
        if project_id is None or not message["channel"].startswith("user:"):
            return None
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        return None
    changes = resource == "project_members" or (
        resource == "project" and action in ("INSERT", "DELETE")
    )
    return project_id, changes


def format_timestamp(at: datetime) -> str:
    """UTC with six digits of microseconds and ``Z``."""
    return at.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"

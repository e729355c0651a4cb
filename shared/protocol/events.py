"""Events and resets as channels carry them: the listener writes them, gateways read them."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, TypeAlias, cast, get_args

import orjson

from shared.protocol.channels import Channel
from shared.protocol.replay import Cursor, cursor_head

RECONNECT_MEMBER: Final = b"*"  # of a channel log: all of the channel is stale
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
    """The reason with that name. An unknown one, of a newer version, counts as ``gap``."""
    return cast(Reason, text) if text in get_args(Reason) else "gap"


@dataclass(frozen=True, slots=True)
class Event:
    """A row change as clients get it; ``at`` is when, in UTC.

    ``project_id`` None: it concerns one user alone. ``access``, on a user's channel only: that
    user may have gained or lost access to the project.
    """

    resource: str
    id: str
    action: Action
    project_id: str | None
    at: datetime
    access: bool = False


@dataclass(frozen=True, slots=True)
class Publishable:
    """An event as ``publish.lua`` takes it: the member of the channel log, and the frame before
    and after the cursor.
    """

    member: bytes
    head: bytes
    tail: bytes


def publishable_event(event: Event, channel: Channel) -> Publishable:
    """Encode an event for a channel. ``publish.lua`` completes its cursor."""
    # The mark stands before the timestamp: see ``row_of``.
    mark = {"access": True} if event.access else {}
    frame = {
        "type": "cache_invalidate",
        "resource": event.resource,
        "action": event.action,
        "project_id": event.project_id,
        **mark,
        "data": {
            "resource": event.resource,
            "id": event.id,
            "action": event.action,
            "project_id": event.project_id,
            "timestamp": format_timestamp(event.at),
        },
        "channel": channel.name,
    }
    row = [event.resource, event.id, event.action, event.project_id, *mark.values()]
    return Publishable(
        member=orjson.dumps(row),
        head=orjson.dumps(frame)[:-1] + b',"cursor":"' + cursor_head(channel).encode(),
        tail=b'"}',
    )


def publishable_reconnect(reason: Reason, channel: Channel) -> Publishable:
    """Encode a reset of one channel, which goes through the channel's log like an event."""
    frame: dict[str, Any] = {"type": "reconnect", "data": {"reason": reason}}
    if channel.kind == "project":
        frame["project_id"] = channel.id
    head = b',"cursors":{' + orjson.dumps(channel.name) + b':"' + cursor_head(channel).encode()
    return Publishable(RECONNECT_MEMBER, orjson.dumps(frame)[:-1] + head, b'"}}')


def replayed_frame(member: bytes, cursor: Cursor) -> bytes:
    """The frame for a member of a channel log that was published at *cursor*.

    Its timestamp is that of its offset. The log does not keep a reset's reason. Total: a member
    that ``publish.lua`` did not write counts as a reset.
    """
    event = _parse_member(member, _EPOCH_START + timedelta(microseconds=cursor.offset))
    part = (
        publishable_reconnect("bulk_change", cursor.channel)
        if event is None
        else publishable_event(event, cursor.channel)
    )
    return part.head + f"{cursor.epoch}.{cursor.offset}".encode() + part.tail


def _parse_member(member: bytes, at: datetime) -> Event | None:
    """The event in a member of a channel log, or None."""
    try:
        fields = orjson.loads(member)
    except orjson.JSONDecodeError:
        return None
    match fields:
        case [resource, row_id, action, project_id]:
            return Event(resource, row_id, action, project_id, at)
        case [resource, row_id, action, project_id, True]:
            return Event(resource, row_id, action, project_id, at, access=True)
        case _:
            return None


def cursor_text(frame: bytes) -> bytes:
    """The cursor of a frame that came from a channel; empty, or no cursor, if it has none.

    It is the last string of such a frame, so the frame need not be parsed.
    """
    end = frame.rfind(b'"')
    start = frame.rfind(b'"', 0, max(end, 0))
    return frame[start + 1 : end] if start >= 0 else b""


def row_of(frame: bytes) -> bytes:
    """A key that two frames of one channel share exactly if they have the same resource, id,
    action and access.

    It is the frame up to its timestamp. The separator's quotes can't occur in an id: inside a
    JSON string they are escaped.
    """
    return frame[: frame.find(b',"timestamp":"')]


def changed_at(frame: bytes) -> float | None:
    """When an event's row was changed, by the database's clock, in Unix seconds.

    None: the frame is a reset, or has no time that can be parsed.
    """
    # An id can't contain the separator: inside a JSON string its quotes are escaped.
    _, separator, rest = frame.rpartition(b'"timestamp":"')
    text = rest[: rest.find(b'"')]
    if not separator or not text.endswith(b"Z"):
        return None
    try:
        return datetime.fromisoformat(text.decode()).timestamp()
    except ValueError:
        return None


def access_change_of(frame: bytes) -> tuple[str, bool] | None:
    """The project in a frame of a user's channel, and whether that user may have gained or lost
    access to it; None: the frame has no project, or is of another channel.

    The listener marks events that change access. Older listeners mark none: for them the names
    of resources decide. On a user's channel a newer listener marks all that these names match.
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
    changes_access = (
        message.get("access") is True
        or resource == "project_members"
        or (resource == "project" and action in ("INSERT", "DELETE"))
    )
    return project_id, changes_access


def format_timestamp(at: datetime) -> str:
    """Format a time in UTC, with six digits of microseconds and ``Z``."""
    return at.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"

"""The one place that knows what frames and messages look like (wire.md)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, TypeAlias, cast, get_args

import orjson

from shared.protocol.channels import Channel
from shared.protocol.replay import Cursor, cursor_head, parse_cursor

SUBPROTOCOL: Final = "neverstale.v1"
HEARTBEAT_SECONDS: Final = 30
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
    """One invalidation: a row that changed, and when (UTC).

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
    """What ``publish.lua`` needs of one event.

    Its member of the channel log, and its frame around the cursor.
    """

    member: bytes
    head: bytes
    tail: bytes


def publishable_event(event: Event, channel: Channel) -> Publishable:
    """An event as all clients of *channel* get it, but for the cursor."""
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
    event = _parse_member(member, _EPOCH_START + timedelta(microseconds=place.offset))
    part = (
        publishable_reconnect("bulk_change", place.channel)
        if event is None
        else publishable_event(event, place.channel)
    )
    return part.head + f"{place.epoch}.{place.offset}".encode() + part.tail


def _parse_member(member: bytes, at: datetime) -> Event | None:
    """The event that a member of a channel log spells; None if it spells none."""
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


def cursor_of(frame: bytes) -> Cursor | None:
    """The cursor of a frame as it came from a channel: by construction its last string."""
    end = frame.rfind(b'"')
    start = frame.rfind(b'"', 0, max(end, 0))
    if start < 0:
        return None
    return parse_cursor(frame[start + 1 : end].decode(errors="replace"))


def row_of(frame: bytes) -> bytes:
    """What frames about the same channel, resource, id, action and access have in common, and
    no others.

    Frames of one channel are alike up to their timestamp exactly then; a quote inside a JSON
    string is escaped, so the mark can't occur in an id.
    """
    return frame[: frame.find(b',"timestamp":"')]


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
            "heartbeat": HEARTBEAT_SECONDS,
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


@dataclass(frozen=True, slots=True)
class Tick:
    """The leader's sign of life, ``at`` a time of Redis in microseconds.

    All gateways compare its generation, and its database, with their own ("": not told).
    """

    generation: str
    reason: Reason
    live: bool
    at: int = 0
    database: str = ""


def tick_around_time(tick: Tick, *, leader: str, lag_ms: int) -> tuple[bytes, bytes]:
    """A tick's text before and after Redis's time in us, which ``save.lua`` puts in."""
    text = orjson.dumps(
        {
            "type": "tick",
            "generation": tick.generation,
            "reason": tick.reason,
            "live": tick.live,
            "leader": leader,
            "lag_ms": lag_ms,
            "database": tick.database,
        }
    )
    return text[:-1] + b',"at":', b"}"


def parse_tick(text: bytes) -> Tick | None:
    """The tick that a message spells, or None."""
    try:
        message = orjson.loads(text)
        return Tick(
            str(message["generation"]),
            as_reason(message["reason"]),
            bool(message["live"]),
            int(message["at"]),
            str(message.get("database", "")),
        )
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return None


@dataclass(frozen=True, slots=True)
class Recheck:
    """Access to ask anew: of this user to this project; None stands for all of them."""

    project_id: str | None
    user_id: str | None


def recheck_message(recheck: Recheck) -> bytes:
    """What is published on the channel ``neverstale:recheck``."""
    return orjson.dumps(
        {"type": "recheck", "project_id": recheck.project_id, "user_id": recheck.user_id}
    )


def parse_recheck(text: bytes) -> Recheck | None:
    """What a message on that channel asks for; None if it is none of ours."""
    try:
        message = orjson.loads(text)
        ids = message["project_id"], message["user_id"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None
    return Recheck(*ids) if all(isinstance(one, str | None) for one in ids) else None


def disconnect_message(user_id: str) -> bytes:
    """What is published there to end all sockets of a user."""
    return orjson.dumps({"type": "disconnect", "user_id": user_id})


def parse_disconnect(text: bytes) -> str | None:
    """The user whose sockets a message on that channel ends, or None."""
    try:
        message = orjson.loads(text)
        return str(message["user_id"]) if message["type"] == "disconnect" else None
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None


def access_change_of(frame: bytes) -> tuple[str, bool] | None:
    """The project that a frame of a user's own channel names, and whether that user may have
    gained or lost access to it; None: it names no project, or is no such frame.

    The listener marks such an event. The names are for frames of older listeners, which mark
    none; on a user's channel a newer one marks whatever these names match.
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
    """UTC with six digits of microseconds and ``Z``."""
    return at.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def encode_close_frame(code: int, reason: str) -> bytes:
    """A Close frame as a server sends it (RFC 6455, section 5.5.1); a short reason."""
    payload = code.to_bytes(2, "big") + reason.encode()
    return bytes((0x88, len(payload))) + payload


def encode_pong_frame(payload: bytes) -> bytes:
    """The answer to a Ping frame with this payload (RFC 6455, section 5.5.3)."""
    return bytes((0x8A, len(payload))) + payload


def encode_text_frame(payload: bytes) -> bytes:
    """An unmasked, unfragmented text frame as a server sends it (RFC 6455, section 5.2)."""
    length = len(payload)
    if length < 126:
        return bytes((0x81, length)) + payload
    if length < 65536:
        return b"\x81\x7e" + length.to_bytes(2, "big") + payload
    return b"\x81\x7f" + length.to_bytes(8, "big") + payload

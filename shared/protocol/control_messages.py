"""Messages between our own processes: ticks, rechecks and disconnects."""

from dataclasses import dataclass

import orjson

from shared.protocol.events import Reason, as_reason
from shared.protocol.json_values import parse_object


@dataclass(frozen=True, slots=True)
class Tick:
    """The leader's sign of life; ``at`` is a time of Redis in microseconds, ``database_at`` one
    of PostgreSQL (None: unknown).

    Gateways compare its generation and its database ("": unknown) with their own, and, in a
    cluster, the version of its slot table (0: no cluster).
    """

    generation: str
    reason: Reason
    live: bool
    at: int = 0
    database: str = ""
    slots: int = 0
    database_at: int | None = None


def tick_around_time(tick: Tick, *, leader: str, lag_ms: int) -> tuple[bytes, bytes]:
    """Encode a tick, before and after Redis's time in microseconds, which ``save.lua`` adds."""
    message: dict[str, object] = {
        "type": "tick",
        "generation": tick.generation,
        "reason": tick.reason,
        "live": tick.live,
        "leader": leader,
        "lag_ms": lag_ms,
        "database": tick.database,
        "database_at": tick.database_at,
    }
    if tick.slots:
        message["slots"] = tick.slots
    text = orjson.dumps(message)
    return text[:-1] + b',"at":', b"}"


def parse_tick(text: bytes) -> Tick | None:
    """The tick in a message of the channel ``neverstale:tick``, or None."""
    message = parse_object(text)
    if message is None:
        return None
    database_at = message.get("database_at")
    try:
        return Tick(
            str(message["generation"]),
            as_reason(message["reason"]),
            bool(message["live"]),
            int(message["at"]),
            str(message.get("database", "")),
            int(message.get("slots", 0)),
            database_at if isinstance(database_at, int) else None,
        )
    except (KeyError, TypeError, ValueError):
        return None


@dataclass(frozen=True, slots=True)
class Recheck:
    """Check again which of these users may see which of these projects; None: all."""

    project_id: str | None
    user_id: str | None


def recheck_message(recheck: Recheck) -> bytes:
    """Encode a recheck for the channel ``neverstale:recheck``."""
    return orjson.dumps(
        {"type": "recheck", "project_id": recheck.project_id, "user_id": recheck.user_id}
    )


def parse_recheck(text: bytes) -> Recheck | None:
    """The recheck in a message of that channel, or None."""
    message = parse_object(text)
    if message is None or not {"project_id", "user_id"} <= message.keys():
        return None
    ids = message["project_id"], message["user_id"]
    return Recheck(*ids) if all(isinstance(one, str | None) for one in ids) else None


def disconnect_message(user_id: str) -> bytes:
    """Encode, for the same channel, that all connections of a user are to be closed."""
    return orjson.dumps({"type": "disconnect", "user_id": user_id})


def parse_disconnect(text: bytes) -> str | None:
    """The user whose connections a message of that channel closes, or None."""
    message = parse_object(text)
    if message is None or message.get("type") != "disconnect" or "user_id" not in message:
        return None
    return str(message["user_id"])

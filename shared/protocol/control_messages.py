"""Messages between our own processes: the leader's tick, rechecks, disconnects."""

from dataclasses import dataclass

import orjson

from shared.protocol.events import Reason, as_reason


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

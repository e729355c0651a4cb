"""Messages of v1 clients, parsed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import orjson

from gateway.limits.rates import BYTES_PER_COST, SUBSCRIBE_COST
from shared.protocol.channels import IdType, InvalidId
from shared.protocol.json_values import parse_id_value
from shared.protocol.replay import Cursor, parse_cursor


@dataclass(frozen=True, slots=True)
class Ping:
    pass


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Subscribe to a project, resuming from a cursor or by the age of the page, or not."""

    project_id: str
    since: Cursor | None
    age_seconds: float | None


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    project_id: str


@dataclass(frozen=True, slots=True)
class Auth:
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class InvalidMessage:
    """A message that can't be understood; *message* explains why."""

    message: str
    project_id: str | None = None


ClientMessage: TypeAlias = Ping | Subscribe | Unsubscribe | Auth | InvalidMessage


def parse_message(text: str, project_type: IdType) -> ClientMessage:
    """Parse a text message. Total: anything malformed gives ``InvalidMessage``."""
    try:
        message = orjson.loads(text)
    except orjson.JSONDecodeError:
        return InvalidMessage("a message must be a JSON object")
    kind = message.get("type") if isinstance(message, dict) else None
    match kind:
        case "ping":
            return Ping()
        case "subscribe" | "unsubscribe":
            return _parse_project_message(kind, message, project_type)
        case "auth" if isinstance(message.get("token"), str):
            return Auth(message["token"])
        case "auth":
            return InvalidMessage("auth needs a token, as text")
        case str():
            return InvalidMessage("messages of this type are not understood")
        case _:
            return InvalidMessage("a message must be a JSON object with a type")


def cost_of(message: ClientMessage, size: int) -> int:
    """The cost of a message of so many bytes, in addition to its frame.

    A new token costs more, which is not known before it is verified.
    """
    more = SUBSCRIBE_COST if isinstance(message, Subscribe) else 0
    return more + size // BYTES_PER_COST


def parse_age(milliseconds: str) -> float | None:
    """The age in seconds, or None unless the text is a whole number of milliseconds."""
    if not (milliseconds.isascii() and milliseconds.isdigit() and len(milliseconds) < 16):
        return None
    return int(milliseconds) / 1000


def _parse_project_message(
    kind: str, message: Mapping[str, Any], project_type: IdType
) -> ClientMessage:
    project, since, age = (message.get(name) for name in ("project_id", "since", "age"))
    try:
        project_id = parse_id_value(project, project_type)
    except InvalidId as exc:
        return InvalidMessage(f"project_id {exc}", str(project))
    if project_id is None:
        return InvalidMessage(f"{kind} needs a project_id")
    if kind == "unsubscribe":
        return Unsubscribe(project_id)
    if since is not None and not isinstance(since, str):
        return InvalidMessage("since must be a cursor, as text", project_id)
    age_seconds = None
    if age is not None:
        age_seconds = parse_age(str(age)) if type(age) is int else None
        if age_seconds is None:
            return InvalidMessage("age must be a whole number of milliseconds", project_id)
    return Subscribe(project_id, parse_cursor(since) if since else None, age_seconds)

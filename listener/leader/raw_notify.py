"""Parses the payload of another producer's NOTIFY into a row for the change log."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from listener.capture.watches import MAX_RESOURCE_BYTES
from listener.leader.log_row import LogRow
from shared.config.access_rules import AccessRules
from shared.protocol.channels import MAX_ID_BYTES, IdType, InvalidId, parse_id
from shared.protocol.events import ACTIONS


@dataclass(frozen=True, slots=True)
class Malformed:
    """The reason why a payload is not an event."""

    reason: str


def parse_notification(payload: str, rules: AccessRules) -> LogRow | Malformed:
    """The change in the payload of a raw NOTIFY (docs/wire.md, section 6)."""
    try:
        message = orjson.loads(payload)
    except orjson.JSONDecodeError:
        return Malformed("the payload is not JSON")
    if not isinstance(message, dict):
        return Malformed("the payload is not a JSON object")
    try:
        project = _text(
            message, "project_id" if message.get("project_id") is not None else "projectId"
        )
        user = _text(message, "user_id", required=False)
        return LogRow(
            project_id=_canonical("project_id", project, rules.project_type),
            user_id=_canonical("user_id", user, rules.user_type),
            resource=_resource(message),
            id=_id(message),
            action=_action(message),
            at=_timestamp(message),
        )
    except ValueError as exc:
        return Malformed(str(exc))


def _text(message: dict[str, Any], key: str, *, required: bool = True) -> str | None:
    value = message.get(key)
    if value is None and not required:
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value:
        name = "project_id" if key == "projectId" else key
        raise ValueError(f"{name} must be text" if value is not None else f"{name} is missing")
    if "\0" in value:
        raise ValueError(f"{key} contains a NUL character, which PostgreSQL cannot store")
    return value


def _resource(message: dict[str, Any]) -> str:
    resource = _text(message, "resource") or ""
    if len(resource.encode()) > MAX_RESOURCE_BYTES:
        raise ValueError(f"resource must have at most {MAX_RESOURCE_BYTES} bytes")
    return resource


def _id(message: dict[str, Any]) -> str | None:
    """The row's id; None, which resets its project, if it is missing or too long."""
    id_ = _text(message, "id", required=False)
    return id_ if id_ is None or len(id_.encode()) <= MAX_ID_BYTES else None


def _action(message: dict[str, Any]) -> str:
    action = (_text(message, "action") or "").upper()
    if action not in ACTIONS:
        raise ValueError(f"action must be one of {', '.join(ACTIONS)}")
    return action


def _canonical(key: str, text: str | None, id_type: IdType) -> str | None:
    if text is None:
        return None
    try:
        return parse_id(text, id_type)
    except InvalidId as exc:
        raise ValueError(f"{key} {exc}") from exc


def _timestamp(message: dict[str, Any]) -> datetime | None:
    """When it happened; None, the time of logging, if the payload does not say."""
    text = message.get("timestamp")
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        raise ValueError("timestamp must be ISO 8601") from None

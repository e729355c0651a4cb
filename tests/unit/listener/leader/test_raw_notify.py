import json
from datetime import UTC, datetime
from typing import Any

import pytest

from listener.leader.log_row import LogRow
from listener.leader.raw_notify import Malformed, parse_notification
from shared.config.access_rules import AccessRules

AT = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)
RULES = AccessRules("text", "text", "", "")
PAYLOAD: dict[str, Any] = {"resource": "task", "id": "1", "action": "UPDATE", "project_id": "a"}


def notification(**changes: Any) -> LogRow | Malformed:
    merged = {**PAYLOAD, **changes}
    return parse_notification(
        json.dumps({key: value for key, value in merged.items() if value != "-"}), RULES
    )


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, LogRow("a", None, "task", "1", "UPDATE", None)),
        ({"project_id": "-", "projectId": "b"}, LogRow("b", None, "task", "1", "UPDATE", None)),
        ({"id": "-"}, LogRow("a", None, "task", None, "UPDATE", None)),
        ({"id": "x" * 513}, LogRow("a", None, "task", None, "UPDATE", None)),
        ({"id": 7, "action": "delete"}, LogRow("a", None, "task", "7", "DELETE", None)),
        ({"user_id": "u"}, LogRow("a", "u", "task", "1", "UPDATE", None)),
        (
            {"timestamp": "2026-11-24T10:00:00Z"},
            LogRow("a", None, "task", "1", "UPDATE", AT),
        ),
        ({"timestamp": "2026-11-24T10:00:00"}, LogRow("a", None, "task", "1", "UPDATE", AT)),
    ],
)
def test_a_raw_notification_is_a_row(changes: dict[str, Any], expected: LogRow) -> None:
    assert notification(**changes) == expected


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"project_id": "-"}, "project_id is missing"),
        ({"resource": "-"}, "resource is missing"),
        ({"resource": ""}, "resource must be text"),
        ({"resource": "ä" * 129}, "resource must have at most 256 bytes"),
        ({"project_id": "x" * 513}, "project_id must have 1 to 512 bytes"),
        ({"action": "-"}, "action is missing"),
        ({"action": "TRUNCATE"}, "action must be one of INSERT, UPDATE, DELETE"),
        ({"project_id": True}, "project_id must be text"),
        ({"project_id": "a\n"}, "project_id must be text without control characters"),
        ({"timestamp": "yesterday"}, "timestamp must be ISO 8601"),
        ({"timestamp": 7}, "timestamp must be ISO 8601"),
        ({"timestamp": "0001-01-01T00:00:00+14:00"}, "timestamp must be ISO 8601"),
        ({"id": "a\0b"}, "id contains a NUL character, which PostgreSQL cannot store"),
    ],
)
def test_a_malformed_notification_has_a_reason(changes: dict[str, Any], reason: str) -> None:
    assert notification(**changes) == Malformed(reason)


@pytest.mark.parametrize("payload", ["", "x", "[]", "7"])
def test_a_payload_that_is_not_an_object_is_malformed(payload: str) -> None:
    assert isinstance(parse_notification(payload, RULES), Malformed)

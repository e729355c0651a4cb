import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from shared.protocol.channels import Channel
from shared.protocol.events import (
    Event,
    Publishable,
    publishable_event,
    publishable_reconnect,
)
from shared.protocol.frames import (
    auth_ok_frame,
    connected_frame,
    error_body,
    error_frame,
    reconnect_frame,
    status_frame,
    subscribed_frame,
    token_expiring_frame,
    unsubscribed_frame,
)
from shared.protocol.replay import Cursor

VECTORS = json.loads((Path(__file__).parents[3] / "vectors" / "frames.json").read_text())
AT = datetime(2026, 11, 24, 10, 0, 0, 123456, UTC)
APOLLO = Channel("project", "a9011000-0000-4000-8000-000000000001")


def published(part: Publishable, epoch_and_offset: str = "g.r.5") -> bytes:
    """What ``publish.lua`` makes of it."""
    return part.head + epoch_and_offset.encode() + part.tail


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["name"] for vector in VECTORS])
def test_frames_are_the_documented_bytes(vector: dict[str, Any]) -> None:
    place = Cursor(APOLLO, "g.r", 5)
    made = {
        "cache_invalidate": lambda: published(
            publishable_event(Event("task", "T", "UPDATE", APOLLO.id, AT), APOLLO)
        ),
        "cache_invalidate that may change access": lambda: published(
            publishable_event(
                Event("team_members", "T", "INSERT", APOLLO.id, AT, access=True),
                Channel("user", "U"),
            )
        ),
        "reconnect through a log": lambda: published(
            publishable_reconnect("bulk_change", APOLLO)
        ),
        "reconnect, plain": lambda: reconnect_frame("connected"),
        "reconnect of a project, v1": lambda: reconnect_frame(
            "gap", project_id=APOLLO.id, cursors=[place]
        ),
        "connected": lambda: connected_frame([place], resumed=[]),
        "connected, resumed": lambda: connected_frame([place], resumed=[APOLLO]),
        "reconnect of everything, v1": lambda: reconnect_frame(
            "log_lost", spread_ms=2000, cursors=[place]
        ),
        "subscribed": lambda: subscribed_frame(place, resumed=True),
        "unsubscribed": lambda: unsubscribed_frame(APOLLO.id, "requested"),
        "token_expiring": lambda: token_expiring_frame(60),
        "auth_ok": lambda: auth_ok_frame(3600),
        "status": lambda: status_frame(live=False),
        "error": lambda: error_frame("bad_request", "no"),
        "error of a project": lambda: error_frame("forbidden", "no", project_id=APOLLO.id),
        "refusal": lambda: error_body("forbidden", "no"),
    }[vector["name"]]()
    assert made.decode() == vector["text"]

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.protocol.channels import Channel
from shared.protocol.close_codes import (
    FORBIDDEN,
    TOKEN_EXPIRED,
    bad_request,
    unauthorized,
    unavailable,
)
from shared.protocol.messages import (
    ACTIONS,
    Event,
    Publishable,
    Recheck,
    Tick,
    as_reason,
    auth_ok_frame,
    connected_frame,
    cursor_of,
    disconnect_message,
    encode_close_frame,
    encode_text_frame,
    error_body,
    error_frame,
    format_timestamp,
    parse_disconnect,
    parse_recheck,
    parse_tick,
    publishable_event,
    publishable_reconnect,
    recheck_message,
    reconnect_frame,
    replayed_frame,
    row_of,
    status_frame,
    subscribed_frame,
    tick_around_time,
    token_expiring_frame,
    unsubscribed_frame,
)
from shared.protocol.replay import Cursor

VECTORS = json.loads((Path(__file__).parents[3] / "vectors" / "frames.json").read_text())
AT = datetime(2026, 11, 24, 10, 0, 0, 123456, UTC)
APOLLO = Channel("project", "a9011000-0000-4000-8000-000000000001")
IDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
EVENTS = st.builds(
    Event,
    resource=IDS,
    id=IDS,
    action=st.sampled_from(ACTIONS),
    project_id=IDS,
    at=st.datetimes(timezones=st.just(UTC)),
    access=st.booleans(),
)


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


@given(EVENTS, st.sampled_from(["project", "user"]))
def test_a_published_event_is_json_and_gives_its_cursor_back(event: Event, kind: Any) -> None:
    channel = Channel(kind, event.project_id or "")
    frame = published(publishable_event(event, channel))
    message = json.loads(frame)
    cursor = cursor_of(frame)
    assert message["cursor"] == str(cursor)
    assert cursor == Cursor(channel, "g.r", 5)
    assert message["data"]["id"] == event.id
    assert message["channel"] == channel.name


@given(IDS)
def test_a_published_reconnect_gives_its_cursor_back(project_id: str) -> None:
    channel = Channel("project", project_id)
    frame = published(publishable_reconnect("bulk_change", channel))
    cursor = cursor_of(frame)
    assert json.loads(frame)["cursors"] == {channel.name: str(cursor)}
    assert cursor == Cursor(channel, "g.r", 5)


def test_a_reconnect_of_a_users_channel_names_no_project() -> None:
    frame = json.loads(published(publishable_reconnect("bulk_change", Channel("user", "U"))))
    assert "project_id" not in frame


@given(EVENTS, EVENTS)
def test_frames_are_about_the_same_row_exactly_if_all_but_the_time_is_the_same(
    one: Event, other: Event
) -> None:
    channel = Channel("project", one.project_id or "")
    frames = [published(publishable_event(event, channel)) for event in (one, other)]
    same = replace(one, at=AT) == replace(other, at=AT)
    assert (row_of(frames[0]) == row_of(frames[1])) == same


@pytest.mark.parametrize("frame", [b"", b"x", b'"', b'""', b'{"a":"b"}', b'"\xff"'])
def test_what_nobody_of_ours_published_has_no_cursor(frame: bytes) -> None:
    assert cursor_of(frame) is None


@given(EVENTS.filter(lambda event: event.at.year > 1970))
def test_a_replayed_event_is_the_frame_that_was_published(event: Event) -> None:
    channel = Channel("project", event.project_id or "")
    offset = (event.at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    part = publishable_event(event, channel)
    replayed = replayed_frame(part.member, Cursor(channel, "g.r", offset))
    assert replayed == published(part, f"g.r.{offset}")


@pytest.mark.parametrize(
    "member",
    [
        b"*", b"", b"[]", b"7", b'["task","T","UPDATE"]', b'["task","T","UPDATE","P",1,2]',
        b'["task","T","UPDATE","P",false]', b"\xff",
    ],
)  # fmt: skip
def test_what_is_no_row_replays_as_a_reconnect(member: bytes) -> None:
    frame = replayed_frame(member, Cursor(APOLLO, "g.r", 5))
    assert frame == published(publishable_reconnect("bulk_change", APOLLO))


def test_a_tick_is_read_back() -> None:
    before, after = tick_around_time(
        Tick("g", "truncate", live=True, database="7.5"), leader="host:1", lag_ms=3
    )
    at = 1764000000000000
    text = before + str(at).encode() + after
    assert parse_tick(text) == Tick("g", "truncate", live=True, at=at, database="7.5")


def test_a_tick_of_an_older_leader_names_no_database() -> None:
    text = b'{"generation":"g","reason":"gap","live":true,"at":1}'
    assert parse_tick(text) == Tick("g", "gap", live=True, at=1)


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b'{"generation":"g"}', b"1"])
def test_what_is_no_tick_is_none(text: bytes) -> None:
    assert parse_tick(text) is None


def test_an_unknown_reason_reads_as_a_gap() -> None:
    assert as_reason("truncate") == "truncate"
    assert as_reason("one of tomorrow's") == "gap"


def test_timestamps_are_utc_with_six_digits() -> None:
    at = datetime(2026, 11, 24, 12, 0, tzinfo=timezone(timedelta(hours=2)))
    assert format_timestamp(at) == "2026-11-24T10:00:00.000000Z"


@pytest.mark.parametrize(
    ("size", "header"),
    [
        (0, b"\x81\x00"),
        (125, b"\x81\x7d"),
        (126, b"\x81\x7e\x00\x7e"),
        (65535, b"\x81\x7e\xff\xff"),
        (65536, b"\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
    ],
)
def test_a_text_frame_has_the_shortest_length(size: int, header: bytes) -> None:
    """RFC 6455, section 5.2."""
    payload = b"x" * size
    assert encode_text_frame(payload) == header + payload


def test_a_close_frame_has_its_code_and_reason() -> None:
    assert encode_close_frame(4403, "no") == b"\x88\x04\x11\x33no"


def test_refusals_pair_status_and_close_code() -> None:
    for refusal in (bad_request(""), unauthorized(""), FORBIDDEN, TOKEN_EXPIRED):
        assert refusal.close == 4000 + refusal.status
    assert (unavailable("").status, unavailable("").close) == (503, 1013)


def test_a_user_is_disconnected_by_a_message_of_its_own_kind() -> None:
    message = disconnect_message("u")
    assert parse_disconnect(message) == "u"
    assert parse_recheck(message) is None
    assert parse_disconnect(recheck_message(Recheck(None, "u"))) is None
    for text in (b"", b"[]", b"{}", b'{"type":"disconnect"}'):
        assert parse_disconnect(text) is None

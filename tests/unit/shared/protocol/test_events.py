import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.protocol.channels import Channel
from shared.protocol.events import (
    ACTIONS,
    Event,
    Publishable,
    as_reason,
    changed_at,
    format_timestamp,
    publishable_event,
    publishable_reconnect,
    replayed_frame,
    row_of,
)
from shared.protocol.replay import Cursor
from tests.support.published_frames import cursor_of

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


def test_an_unknown_reason_reads_as_a_gap() -> None:
    assert as_reason("truncate") == "truncate"
    assert as_reason("one of tomorrow's") == "gap"


def test_timestamps_are_utc_with_six_digits() -> None:
    at = datetime(2026, 11, 24, 12, 0, tzinfo=timezone(timedelta(hours=2)))
    assert format_timestamp(at) == "2026-11-24T10:00:00.000000Z"


def test_an_event_tells_when_its_row_was_changed() -> None:
    at = datetime(2026, 11, 24, 10, 0, 0, 123456, tzinfo=UTC)
    tricky = '"timestamp":"2000-01-01T00:00:00.000000Z"'
    part = publishable_event(Event("task", tricky, "UPDATE", "p", at), Channel("project", "p"))
    assert changed_at(part.head + b"c.1" + part.tail) == at.timestamp()


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b'{"type":"reconnect","data":{"reason":"gap"}}',
        b'{"timestamp":"',
        b'{"timestamp":"2026-11-24T10:00:00"}',
        b'{"timestamp":"2026-13-24T10:00:00.000000Z"}',
        b'{"timestamp":"\xffZ"}',
    ],
)
def test_a_frame_without_a_time_that_can_be_parsed_has_none(frame: bytes) -> None:
    assert changed_at(frame) is None

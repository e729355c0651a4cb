import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.protocol.channels import (
    Channel,
)
from shared.protocol.replay import (
    Cursor,
    Loaded,
    LogHead,
    Since,
    cursor_head,
    decide_replay,
    parse_cursor,
)

IDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
CHANNELS = st.builds(Channel, st.sampled_from(["project", "user"]), IDS)
EPOCHS = st.from_regex(r"[0-9a-f]{1,16}\.[0-9a-f]{1,8}", fullmatch=True)


@given(CHANNELS, EPOCHS, st.integers(1, 2**53))
def test_a_cursor_is_read_back_from_its_text(channel: Channel, epoch: str, offset: int) -> None:
    cursor = Cursor(channel, epoch, offset)
    assert parse_cursor(str(cursor)) == cursor
    assert str(cursor).startswith(cursor_head(channel))
    assert cursor.generation == epoch.split(".")[0]


@given(st.text())
def test_no_text_makes_a_cursor_raise(text: str) -> None:
    cursor = parse_cursor(text)
    assert cursor is None or str(cursor) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a.b.c",
        "project:1.g.r.0",
        "project:1.g.r.-5",
        "project:1.g.r.x",
        "project:1.g.r.\u0665",
        "project:1.g.r.9007199254740993",
        "project:1.g.r." + "1" * 5000,
        "project:1.g..5",
        "project:.g.r.5",
        "team:1.g.r.5",
        "project:~zz.g.r.5",
        "project:1.g r.r.5",
    ],
)
def test_a_forged_cursor_is_none(text: str) -> None:
    assert parse_cursor(text) is None


def test_a_frame_of_another_epoch_always_tells_more() -> None:
    channel = Channel("project", "1")
    place = Cursor(channel, "g.a", 10)
    assert Cursor(channel, "g.a", 11).is_above(place)
    assert not Cursor(channel, "g.a", 10).is_above(place)
    assert Cursor(channel, "g.b", 1).is_above(place)


@pytest.mark.parametrize(
    ("since", "after"),
    [
        (None, None),
        (Cursor(Channel("project", "7"), "g.r", 10), 10),
        (Cursor(Channel("project", "7"), "g.r", 15), 15),
        (Cursor(Channel("project", "7"), "g.r", 20), 20),
        (Cursor(Channel("project", "7"), "g.r", 9), None),
        (Cursor(Channel("project", "7"), "g.r", 21), None),
        (Cursor(Channel("project", "7"), "g.x", 15), None),
        (Loaded(10), 10),
        (Loaded(25), 20),
        (Loaded(9), None),
    ],
)
def test_a_replay_is_complete_only_between_the_floor_and_the_end_of_the_same_log(
    since: Since, after: int | None
) -> None:
    assert decide_replay(since, LogHead("g.r", floor=10, last=20)) == after

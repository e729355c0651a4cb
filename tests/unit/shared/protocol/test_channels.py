import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.protocol.channels import (
    Channel,
    IdType,
    InvalidId,
    RedisNames,
    parse_channel_token,
    parse_id,
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

UUID = "a9011000-0000-4000-8000-000000000001"
IDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
CHANNELS = st.builds(Channel, st.sampled_from(["project", "user"]), IDS)
EPOCHS = st.from_regex(r"[0-9a-f]{1,16}\.[0-9a-f]{1,8}", fullmatch=True)


@pytest.mark.parametrize(
    ("text", "id_type", "canonical"),
    [
        (UUID, "uuid", UUID),
        (UUID.upper(), "uuid", UUID),
        (UUID.replace("-", ""), "uuid", UUID),
        ("{" + UUID + "}", "uuid", UUID),
        ("7", "bigint", "7"),
        ("+007", "bigint", "7"),
        ("-0", "bigint", "0"),
        (" 7\n", "bigint", "7"),
        ("0" * 500 + "7", "bigint", "7"),
        ("1_000", "bigint", "1000"),
        ("-0x1F", "bigint", "-31"),
        ("-9223372036854775808", "bigint", "-9223372036854775808"),
        ("Ä b", "text", "Ä b"),
    ],
)
def test_an_id_has_one_spelling(text: str, id_type: IdType, canonical: str) -> None:
    assert parse_id(text, id_type) == canonical


@pytest.mark.parametrize(
    ("text", "id_type"),
    [
        ("", "text"),
        ("x" * 513, "text"),
        ("a\nb", "text"),
        ("\ud800", "text"),
        ("apollo", "uuid"),
        ("", "uuid"),
        ("7.0", "bigint"),
        ("1__000", "bigint"),
        ("7 8", "bigint"),
        ("0x", "bigint"),
        ("\u0667", "bigint"),
        ("9223372036854775808", "bigint"),
    ],
)
def test_what_is_no_id_of_its_type_is_refused(text: str, id_type: IdType) -> None:
    with pytest.raises(InvalidId):
        parse_id(text, id_type)


@given(CHANNELS)
def test_a_channel_is_read_back_from_its_token(channel: Channel) -> None:
    assert parse_channel_token(channel.token) == channel
    assert channel.token.isascii()
    assert not set(channel.token) & set('%"\\/ &?#+=')


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


def test_a_log_and_its_channel_share_a_slot_behind_the_prefix() -> None:
    names = RedisNames("staging:")
    channel = Channel("project", "1")
    assert names.channel(channel) == "staging:project:1"
    assert names.log(channel) == "{staging:project:1}:log"
    assert (names.tick, names.state) == ("staging:neverstale:tick", "staging:neverstale:state")
    assert names.recheck == "staging:neverstale:recheck"


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


def test_a_ticket_is_named_behind_the_prefix() -> None:
    assert RedisNames("staging:").ticket("d") == "staging:neverstale:ticket:d"

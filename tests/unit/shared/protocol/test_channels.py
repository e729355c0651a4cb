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
from shared.protocol.slots import slot_of

UUID = "a9011000-0000-4000-8000-000000000001"
IDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
CHANNELS = st.builds(Channel, st.sampled_from(["project", "user"]), IDS)


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


def test_a_log_and_its_channel_share_a_slot_behind_the_prefix() -> None:
    names = RedisNames("staging:")
    channel = Channel("project", "1")
    assert names.channel(channel) == "staging:project:1"
    assert names.log(channel) == "{staging:project:1}:log"
    assert (names.tick, names.state) == ("staging:neverstale:tick", "staging:neverstale:state")
    assert names.recheck == "staging:neverstale:recheck"


@given(CHANNELS)
def test_in_a_cluster_a_channel_its_log_and_its_events_share_a_slot(channel: Channel) -> None:
    names = RedisNames("staging:", is_cluster=True)
    assert slot_of(names.channel(channel)) == slot_of(names.log(channel))
    assert names.channel(channel) == f"{{staging:{channel.name}}}"


def test_in_a_cluster_tickets_are_in_the_slot_of_the_state() -> None:
    names = RedisNames("staging:", is_cluster=True)
    assert slot_of(names.ticket("d")) == slot_of(names.state)


def test_in_a_cluster_statuses_and_their_index_are_in_the_slot_of_the_state() -> None:
    names = RedisNames("staging:", is_cluster=True)
    assert (
        slot_of(names.status("gateway:a:1")) == slot_of(names.statuses) == slot_of(names.state)
    )


def test_the_statuses_and_their_index_share_a_slot_behind_the_prefix() -> None:
    names = RedisNames("staging:")
    assert names.statuses == "{staging:neverstale:status}"
    assert names.status("gateway:a:1") == "{staging:neverstale:status}:gateway:a:1"


def test_a_ticket_is_named_behind_the_prefix() -> None:
    assert RedisNames("staging:").ticket("d") == "staging:neverstale:ticket:d"

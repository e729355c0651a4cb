import pytest

from shared.protocol.control_messages import (
    Recheck,
    Tick,
    disconnect_message,
    parse_disconnect,
    parse_recheck,
    parse_tick,
    recheck_message,
    tick_around_time,
)


def test_a_tick_is_read_back() -> None:
    before, after = tick_around_time(
        Tick("g", "truncate", live=True, database="7.5", database_at=7), leader="l:1", lag_ms=3
    )
    at = 1764000000000000
    text = before + str(at).encode() + after
    assert parse_tick(text) == Tick(
        "g", "truncate", live=True, at=at, database="7.5", database_at=7
    )


def test_a_tick_in_a_cluster_has_the_version_of_the_slot_table() -> None:
    tick = Tick("g", "gap", live=True, at=1, slots=7)
    before, after = tick_around_time(tick, leader="host:1", lag_ms=0)
    assert parse_tick(before + b"1" + after) == tick


def test_a_tick_of_an_older_leader_names_no_database() -> None:
    text = b'{"generation":"g","reason":"gap","live":true,"at":1%b}'
    for more in (b"", b',"database_at":null', b',"database_at":"x"'):
        assert parse_tick(text % more) == Tick("g", "gap", live=True, at=1)


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b'{"generation":"g"}', b"1"])
def test_what_is_no_tick_is_none(text: bytes) -> None:
    assert parse_tick(text) is None


def test_a_user_is_disconnected_by_a_message_of_its_own_kind() -> None:
    message = disconnect_message("u")
    assert parse_disconnect(message) == "u"
    assert parse_recheck(message) is None
    assert parse_disconnect(recheck_message(Recheck(None, "u"))) is None
    for text in (b"", b"[]", b"{}", b'{"type":"disconnect"}'):
        assert parse_disconnect(text) is None

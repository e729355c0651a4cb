import pytest

from gateway.delivery.cursor_reader import CursorReader
from shared.protocol.channels import Channel
from shared.protocol.events import publishable_reconnect
from shared.protocol.replay import Cursor

P = Channel("project", "p")


def frame(rest: str, channel: Channel = P) -> bytes:
    part = publishable_reconnect("bulk_change", channel)
    return part.head + rest.encode() + part.tail


def test_each_log_of_the_channel_is_read() -> None:
    reader = CursorReader(P)
    for epoch, offset in (("g.a", 1), ("g.a", 2), ("g.b", 3), ("g.a", 4)):
        assert reader.read(frame(f"{epoch}.{offset}")) == Cursor(P, epoch, offset)


@pytest.mark.parametrize("wrong", ["0", "x", "", "9" * 16, "9" * 9999, "1.5"])
def test_a_malformed_offset_is_no_cursor_before_and_after_a_good_one(wrong: str) -> None:
    reader = CursorReader(P)
    assert reader.read(frame(f"g.a.{wrong}")) is None
    assert reader.read(frame("g.a.7")) == Cursor(P, "g.a", 7)
    assert reader.read(frame(f"g.a.{wrong}")) is None


@pytest.mark.parametrize("text", [b"", b'"', b'".1"', b'"1"', b'"."'])
def test_what_has_no_cursor_is_none(text: bytes) -> None:
    assert CursorReader(P).read(text) is None


def test_the_cursor_of_another_channel_is_none() -> None:
    reader = CursorReader(P)
    other = frame("g.a.1", Channel("project", "q"))
    assert reader.read(other) is None
    assert reader.read(frame("g.a.1")) is not None
    assert reader.read(other) is None

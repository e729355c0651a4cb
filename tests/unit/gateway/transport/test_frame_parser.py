"""A client's frames, in whatever pieces they come; the rules are in RFC 6455, section 5."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.transport.frame_parser import (
    NO_STATUS,
    Close,
    FrameEvent,
    FrameParser,
    Ping,
    Violation,
    ends_with_close,
    is_close_code,
)
from tests.support.frames import frame

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
MAX_BYTES = 70_000
EURO = "\N{EURO SIGN}".encode()


def close(code: int, reason: bytes = b"why") -> bytes:
    return frame(CLOSE, code.to_bytes(2, "big") + reason, mask=b"mask")


def part(opcode: int, payload: bytes = b"") -> bytes:
    return frame(opcode, payload, fin=False)


GOOD: dict[str, tuple[list[bytes], list[FrameEvent]]] = {
    "text": ([frame(TEXT, b"hello")], ["hello"]),
    "empty text": ([frame(TEXT, b"")], [""]),
    "long": (
        [frame(TEXT, b"x" * 126), frame(TEXT, b"y" * MAX_BYTES)],
        ["x" * 126, "y" * MAX_BYTES],
    ),
    "fragments": (
        [part(TEXT, b"a"), frame(PING, b"p"), part(CONTINUATION), frame(CONTINUATION, b"b")],
        [Ping(b"p"), "ab"],
    ),
    "a character over two fragments": (
        [part(TEXT, EURO[:1]), frame(CONTINUATION, EURO[1:])],
        [EURO.decode()],
    ),
    "as long in fragments": (
        [
            part(TEXT, b"x" * (MAX_BYTES - 1)),
            frame(PING, b"p" * 125),
            frame(CONTINUATION, b"x"),
        ],
        [Ping(b"p" * 125), "x" * MAX_BYTES],
    ),
    "message after message": (
        [part(TEXT), frame(CONTINUATION, b""), frame(TEXT, b"")],
        ["", ""],
    ),
    "pong": ([frame(PONG, b"x"), frame(PING, b"")], [Ping(b"")]),
    "a mask of zeros": ([frame(TEXT, b"a", mask=bytes(4))], ["a"]),
    "longer spelling of a length": (
        [b"\x81\xfe\x00\x01\0\0\0\0a", b"\x81\xff" + (1).to_bytes(8, "big") + b"\0\0\0\0b"],
        ["a", "b"],
    ),
    "close": ([close(1000)], [Close(1000)]),
    "close without a code": ([frame(CLOSE, b"")], [Close(NO_STATUS)]),
}
BAD: dict[str, tuple[list[bytes], int]] = {
    "unmasked": ([b"\x81\x02hi"], 1002),
    "unmasked and long": ([b"\x81\x7f" + bytes(8)], 1002),
    "reserved bit": ([frame(TEXT, b"", reserved=1)], 1002),
    "unknown opcode": ([frame(3, b"")], 1002),
    "unknown control opcode": ([frame(11, b"")], 1002),
    "binary": ([frame(BINARY, b"x")], 1003),
    "continuation of nothing": ([frame(CONTINUATION, b"x")], 1002),
    "new message in a fragmented one": ([part(TEXT, b"a"), frame(TEXT, b"b")], 1002),
    "the same, only empty so far": ([part(TEXT), frame(TEXT, b"b")], 1002),
    "the same, a binary fragment": ([part(TEXT), part(BINARY)], 1002),
    "fragmented ping": ([part(PING)], 1002),
    "ping of 126 bytes": ([frame(PING, b"x" * 126)], 1002),
    "close with half a code": ([frame(CLOSE, b"x")], 1002),
    "a close code nobody may send": ([close(1005)], 1002),
    "a reason that is not UTF-8": ([close(1000, b"\xff")], 1007),
    "text that is not UTF-8": ([frame(TEXT, b"\xff")], 1007),
    "text that is cut off": ([part(TEXT, EURO[:1]), frame(CONTINUATION, EURO[1:2])], 1007),
    "too long": ([frame(TEXT, b"x" * (MAX_BYTES + 1))], 1009),
    "too long by its length alone": ([frame(TEXT, b"", length=2**64 - 1)], 1009),
    "too long with a short fragment": (
        [part(TEXT, b"x" * MAX_BYTES), frame(CONTINUATION, b"x")],
        1009,
    ),
    "too long with a long fragment": (
        [part(TEXT, b"x" * MAX_BYTES), frame(CONTINUATION, b"x" * 200)],
        1009,
    ),
}
AFTER = frame(TEXT, b"after the end") + frame(PING, b"")


def feed(parser: FrameParser, sent: bytes, size: int) -> list[FrameEvent]:
    pieces = (sent[start : start + size] for start in range(0, len(sent), size))
    return [event for piece in pieces for event in parser.feed(piece)]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1024, 1 << 20])
@pytest.mark.parametrize(("frames", "told"), GOOD.values(), ids=GOOD)
def test_frames_are_parsed_in_whatever_pieces_they_come(
    frames: list[bytes], told: list[FrameEvent], size: int
) -> None:
    parser = FrameParser(MAX_BYTES)
    assert feed(parser, b"".join(frames), size) == told
    assert parser.frames == len(frames)
    if isinstance(told[-1], Close):
        assert feed(parser, AFTER, size) == []


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1024, 1 << 20])
@pytest.mark.parametrize(("frames", "code"), BAD.values(), ids=BAD)
def test_a_violation_has_its_code_and_ends_the_parsing(
    frames: list[bytes], code: int, size: int
) -> None:
    parser = FrameParser(MAX_BYTES)
    events = feed(parser, b"".join([frame(TEXT, b"good"), *frames, AFTER]), size)
    assert events[0] == "good"
    [violation] = events[1:]
    assert isinstance(violation, Violation)
    assert (violation.code, len(violation.message) <= 123) == (code, True)


@pytest.mark.parametrize(
    ("codes", "may_be_sent"),
    [
        ([0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535], False),
        ([1000, 1001, 1002, 1003, 1007, 1011, 1012, 1014, 3000, 3999, 4000, 4999], True),
    ],
)
def test_close_codes(codes: list[int], may_be_sent: bool) -> None:
    for code in codes:
        assert is_close_code(code) is may_be_sent, code


FRAMES = st.lists(
    st.one_of(
        st.binary(max_size=40),
        st.builds(frame, st.just(TEXT), st.text(max_size=200).map(str.encode)),
        st.builds(
            frame,
            st.integers(0, 15),
            st.binary(max_size=130),
            fin=st.booleans(),
            reserved=st.sampled_from([0, 0, 0, 0, 1, 4]),
            mask=st.one_of(st.none(), st.binary(min_size=4, max_size=4)),
        ),
    ),
    max_size=8,
).map(b"".join)


@given(FRAMES, st.lists(st.integers(1, 50), min_size=1))
def test_no_bytes_break_the_parser_and_pieces_change_nothing(
    sent: bytes, sizes: list[int]
) -> None:
    whole, pieces = FrameParser(150), FrameParser(150)
    told, start = [], 0
    while start < len(sent):
        for size in sizes:
            told += pieces.feed(sent[start : start + size])
            start += size
            kept = len(pieces._rest or b"") + len(pieces._fragments or b"")
            assert kept <= 2 * 150 + 8
    assert told == whole.feed(sent)
    assert pieces.frames == whole.frames
    ends = [isinstance(event, Close | Violation) for event in told]
    assert not any(ends[:-1]), "nothing follows an end"


@given(st.lists(st.text(max_size=300)), st.binary(min_size=4, max_size=4))
def test_what_is_sent_is_what_is_read(texts: list[str], mask: bytes) -> None:
    sent = b"".join(frame(TEXT, text.encode(), mask=mask) for text in texts)
    assert FrameParser(2000).feed(sent) == texts


@pytest.mark.parametrize("size", [0, 2, 5, 125])
def test_a_close_frame_is_known_at_the_end(size: int) -> None:
    last = frame(8, b"\x88" * size)
    assert ends_with_close(last)
    assert ends_with_close(frame(9, b"ping") + last)
    assert not ends_with_close(last[:-1])
    assert not ends_with_close(last + b"x")
    assert not ends_with_close(frame(8, b"x" * size, mask=None))
    assert not ends_with_close(frame(9, b"x" * size))


def test_a_few_bytes_are_no_close_frame() -> None:
    assert not any(ends_with_close(frame(8, b"")[:size]) for size in range(6))
    assert not ends_with_close(frame(8, b"x" * 126))

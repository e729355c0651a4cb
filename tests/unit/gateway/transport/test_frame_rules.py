"""Frames that aiohttp's reader would let pass, in whatever pieces they come."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.transport.frame_rules import FrameRules, Violation, ends_with_close, is_close_code
from tests.support.frames import frame

TEXT, CONTINUATION, CLOSE, PING = 1, 0, 8, 9


def close(code: int) -> bytes:
    return frame(CLOSE, code.to_bytes(2, "big") + b"why", mask=b"mask")


def part(opcode: int, payload: bytes = b"") -> bytes:
    return frame(opcode, payload, fin=False)


CASES = {
    "text": ([frame(TEXT, b"hello")], None),
    "empty text": ([frame(TEXT, b"")], None),
    "long": ([frame(TEXT, b"x" * 126), frame(TEXT, b"x" * 70_000)], None),
    "fragments": ([part(TEXT, b"a"), frame(PING, b"p"), frame(CONTINUATION, b"b")], None),
    "message after message": ([part(TEXT), frame(CONTINUATION, b""), frame(TEXT, b"")], None),
    "close": ([close(1000)], None),
    "close without a code": ([frame(CLOSE, b"")], None),
    "close with half a code": ([frame(CLOSE, b"x")], None),
    "unmasked": ([frame(TEXT, b"good"), b"\x81\x02hi"], "masked"),
    "unmasked and long": ([b"\x81\x7f" + bytes(8)], "masked"),
    "new message in a fragmented one": ([part(TEXT, b"a"), frame(TEXT, b"b")], "within"),
    "the same, only empty so far": ([part(TEXT), frame(TEXT, b"b")], "within"),
    "the same, a fragment": ([part(TEXT), part(2)], "within"),
    "a close code nobody may send": ([close(1005)], "close code"),
}


@pytest.mark.parametrize(("frames", "told"), CASES.values(), ids=CASES)
@pytest.mark.parametrize("size", [1, 2, 3, 7, 1 << 20])
def test_the_rules_hold_in_whatever_pieces_frames_come(
    frames: list[bytes], told: str | None, size: int
) -> None:
    rules = FrameRules()
    sent = b"".join(frames)
    violation = None
    for start in range(0, len(sent), size):
        violation = rules.feed(sent[start : start + size])
        if violation is not None:
            break
    if told is None:
        assert violation is None
        assert rules.frames == len(frames)
    else:
        assert isinstance(violation, Violation)
        assert told in violation.message
        if size > len(sent):
            assert violation.position == len(b"".join(frames[:-1]))


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


@given(st.lists(st.binary(max_size=40)))
def test_no_bytes_break_the_rules_themselves(pieces: list[bytes]) -> None:
    rules = FrameRules()
    for piece in pieces:
        violation = rules.feed(piece)
        if violation is not None:
            assert 0 <= violation.position < len(piece)
            return


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

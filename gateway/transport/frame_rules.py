"""Rules of RFC 6455 for a client's frames that aiohttp's reader does not enforce.

It accepts frames without a mask, a new message inside a fragmented one of which only empty
frames have come, and close codes that must not be sent.
"""

from dataclasses import dataclass
from typing import Final

_CLOSE: Final = 8
_FINAL_CLOSE: Final = 0x88
_MASKED: Final = 0x80
_MAX_CONTROL_BYTES: Final = 125
_FIRST_CONTROL: Final = 8
_LENGTH_BYTES: Final = {126: 2, 127: 8}
_MASK_BYTES: Final = 4
_MAX_HEADER_BYTES: Final = 2 + 8 + _MASK_BYTES + 2  # with a close code


@dataclass(frozen=True, slots=True)
class Violation:
    """A frame that fails the connection with 1002. What is before *position* is well-formed."""

    position: int
    message: str


def is_close_code(code: int) -> bool:
    """Whether an endpoint may send this code (RFC 6455, section 7.4, and IANA's registry)."""
    return 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999


def ends_with_close(data: bytes) -> bool:
    """Whether the last bytes look like a client's Close frame.

    This is for a connection whose frames are no longer parsed. A payload that looks like a
    Close frame is possible, but rare.
    """
    return any(
        data[-6 - size] == _FINAL_CLOSE and data[-5 - size] == _MASKED | size
        for size in range(min(_MAX_CONTROL_BYTES, len(data) - 6) + 1)
    )


class FrameRules:
    """Checks the frames of one client, in whatever pieces they arrive."""

    __slots__ = ("_header", "_is_fragmented", "_left", "frames")

    def __init__(self) -> None:
        self.frames = 0
        self._header = b""  # of the current frame, as far as it came in earlier pieces
        self._left = 0  # bytes of its payload that are still to come
        self._is_fragmented = False

    def feed(self, piece: bytes) -> Violation | None:
        """Check the next bytes. After a violation nothing more may be fed."""
        position = 0
        while position < len(piece):
            if self._left:
                skipped = min(self._left, len(piece) - position)
                self._left -= skipped
                position += skipped
                continue
            begun = len(self._header)
            header = self._header + piece[position : position + _MAX_HEADER_BYTES - begun]
            size = _header_size(header)
            is_whole = len(header) >= size
            problem = None
            if len(header) >= 2 and not header[1] & _MASKED:
                problem = "a client's frames must be masked"
            elif is_whole:
                problem = self._check_header(header, size)
            if problem is not None:
                return Violation(position if not begun else 0, problem)
            if not is_whole:
                self._header = header
                return None
            self._header = b""
            position += size - begun
        return None

    def _check_header(self, header: bytes, size: int) -> str | None:
        """Return what is wrong with a frame whose header is complete, or None."""
        opcode, length = header[0] & 0x0F, header[1] & 0x7F
        length_bytes = _LENGTH_BYTES.get(length, 0)
        if length_bytes:
            length = int.from_bytes(header[2 : 2 + length_bytes], "big")
        code_bytes = size - 2 - length_bytes - _MASK_BYTES
        self._left = length - code_bytes
        self.frames += 1
        if code_bytes:
            return _check_close_code(header[size - 6 : size])
        if opcode < _FIRST_CONTROL:
            if opcode and self._is_fragmented:
                return "a message within a fragmented message"
            self._is_fragmented = not header[0] & 0x80
        return None


def _header_size(header: bytes) -> int:
    """The size of the header that begins so, as far as it is known, including a close code."""
    if len(header) < 2:
        return 2
    length = header[1] & 0x7F
    code_bytes = 2 if header[0] & 0x0F == _CLOSE and length >= 2 else 0
    return 2 + _LENGTH_BYTES.get(length, 0) + _MASK_BYTES + code_bytes


def _check_close_code(end: bytes) -> str | None:
    """Return what is wrong with a close code, given the mask and the masked code, or None."""
    code = int.from_bytes(bytes((end[4] ^ end[0], end[5] ^ end[1])), "big")
    return None if is_close_code(code) else "this close code may not be sent"

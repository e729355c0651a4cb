"""What RFC 6455 demands of a client's frames, and aiohttp's reader lets pass.

Its reader takes frames without a mask, a new message inside a fragmented one of which nothing
but empty frames came yet, and close codes that nobody may send.
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
    """A frame that fails the connection with 1002; what is before *position* was fine."""

    position: int
    message: str


def is_close_code(code: int) -> bool:
    """Whether an endpoint may send it (RFC 6455, section 7.4, and IANA's registry)."""
    return 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999


def ends_with_close(data: bytes) -> bool:
    """Whether the last bytes look like a client's Close frame: for one who does not follow the
    frames any more. Payloads that only look so are rare.
    """
    return any(
        data[-6 - size] == _FINAL_CLOSE and data[-5 - size] == _MASKED | size
        for size in range(min(_MAX_CONTROL_BYTES, len(data) - 6) + 1)
    )


class FrameRules:
    """Follows the frames of one client through whatever pieces they arrive in."""

    __slots__ = ("_header", "_is_fragmented", "_left", "frames")

    def __init__(self) -> None:
        self.frames = 0
        self._header = b""  # of the frame that is being read: what came in earlier pieces
        self._left = 0  # of its payload
        self._is_fragmented = False

    def feed(self, piece: bytes) -> Violation | None:
        """Follow the next bytes; after a violation nothing more may be fed."""
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
                problem = self._follow(header, size)
            if problem is not None:
                return Violation(position if not begun else 0, problem)
            if not is_whole:
                self._header = header
                return None
            self._header = b""
            position += size - begun
        return None

    def _follow(self, header: bytes, size: int) -> str | None:
        """What is wrong with a frame whose header is there; next comes its payload."""
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
    """Of the frame that begins so, as far as it can be told; with a close code."""
    if len(header) < 2:
        return 2
    length = header[1] & 0x7F
    code_bytes = 2 if header[0] & 0x0F == _CLOSE and length >= 2 else 0
    return 2 + _LENGTH_BYTES.get(length, 0) + _MASK_BYTES + code_bytes


def _check_close_code(end: bytes) -> str | None:
    """Of the mask and the masked close code."""
    code = int.from_bytes(bytes((end[4] ^ end[0], end[5] ^ end[1])), "big")
    return None if is_close_code(code) else "this close code may not be sent"

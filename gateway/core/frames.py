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

    __slots__ = ("_header", "_is_fragmented", "_left", "_start", "frames")

    def __init__(self) -> None:
        self.frames = 0
        self._header = bytearray()  # of the frame that is being read, and a close code
        self._left = 0  # of its payload
        self._start = 0  # where in the piece it begins
        self._is_fragmented = False

    def feed(self, piece: bytes) -> Violation | None:
        """Follow the next bytes; after a violation nothing more may be fed."""
        position = 0
        self._start = 0
        while position < len(piece):
            if self._left:
                skipped = min(self._left, len(piece) - position)
                self._left -= skipped
                position += skipped
                continue
            if not self._header:
                self._start = position
            part = piece[position : position + self._header_size() - len(self._header)]
            self._header += part
            position += len(part)
            problem = self._check_header()
            if problem is not None:
                return Violation(self._start, problem)
        return None

    def _header_size(self) -> int:
        """Of the frame that is being read, as far as it can be told; with its close code."""
        header = self._header
        if len(header) < 2:
            return 2
        length = header[1] & 0x7F
        code_bytes = 2 if header[0] & 0x0F == _CLOSE and length >= 2 else 0
        return 2 + _LENGTH_BYTES.get(length, 0) + 4 + code_bytes

    def _check_header(self) -> str | None:
        """What is wrong with the frame; if it is all there, go on to its payload."""
        header = self._header
        if len(header) < 2:
            return None
        opcode, length = header[0] & 0x0F, header[1] & 0x7F
        if not header[1] & 0x80:
            return "a client's frames must be masked"
        length_bytes = _LENGTH_BYTES.get(length, 0)
        code_bytes = 2 if opcode == _CLOSE and length >= 2 else 0
        if len(header) < self._header_size():
            return None
        if length_bytes:
            length = int.from_bytes(header[2 : 2 + length_bytes], "big")
        self._left = length - code_bytes
        self.frames += 1
        problem = self._check_close_code() if code_bytes else self._check_order(opcode)
        self._header = bytearray()
        return problem

    def _check_close_code(self) -> str | None:
        masked, mask = self._header[-2:], self._header[-6:-4]
        code = int.from_bytes(bytes((masked[0] ^ mask[0], masked[1] ^ mask[1])), "big")
        return None if is_close_code(code) else "this close code may not be sent"

    def _check_order(self, opcode: int) -> str | None:
        if opcode >= _FIRST_CONTROL:
            return None
        if opcode and self._is_fragmented:
            return "a message within a fragmented message"
        self._is_fragmented = not self._header[0] & 0x80
        return None

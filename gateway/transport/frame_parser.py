"""Parse a client's WebSocket frames (RFC 6455, section 5), strictly and within bounds."""

from dataclasses import dataclass
from typing import Final, TypeAlias

_CONTINUATION: Final = 0
_BINARY: Final = 2
_CLOSE: Final = 8
_PING: Final = 9
_PONG: Final = 10
_FINAL: Final = 0x80
_FINAL_CLOSE: Final = 0x88
_RESERVED: Final = 0x70
_MASKED: Final = 0x80
_MAX_CONTROL_BYTES: Final = 125
_LENGTH_BYTES: Final = {126: 2, 127: 8}
_MASK_BYTES: Final = 4

_PROTOCOL_ERROR: Final = 1002
_UNSUPPORTED_DATA: Final = 1003
_INVALID_DATA: Final = 1007
_TOO_BIG: Final = 1009
NO_STATUS: Final = 1005  # of a Close frame without a code


@dataclass(frozen=True, slots=True)
class Ping:
    """A Ping frame, to be answered with its payload."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class Close:
    """A valid Close frame. Nothing follows it."""

    code: int


@dataclass(frozen=True, slots=True)
class Violation:
    """The connection must be failed with this close code. Nothing follows it."""

    code: int
    message: str


FrameEvent: TypeAlias = str | Ping | Close | Violation  # a text message is a str


class FrameParser:
    """Parses the frames of one client, in whatever pieces they arrive.

    At most one incomplete frame is kept, and one incomplete message of *max_message_bytes*. A
    length in a longer spelling than needed is accepted, as by most servers: nothing depends on
    it.
    """

    __slots__ = ("_fragments", "_has_ended", "_max_message_bytes", "_needed", "_rest", "frames")

    def __init__(self, max_message_bytes: int) -> None:
        self._max_message_bytes = max_message_bytes
        self._rest: bytearray | None = None  # an incomplete frame
        self._needed = 0  # bytes of it that are needed to parse it further
        self._fragments: bytearray | None = None  # an incomplete message
        self._has_ended = False
        self.frames = 0  # complete ones, so far

    def feed(self, data: bytes) -> list[FrameEvent]:
        """Return what the next bytes complete. A Pong frame is only counted."""
        events: list[FrameEvent] = []
        frames: bytes | bytearray = data
        if self._rest is not None:
            self._rest += data
            if len(self._rest) < self._needed:
                return events
            frames, self._rest = self._rest, None
        start = 0
        while start < len(frames) and not self._has_ended:
            end = self._take_frame(frames, start, events)
            if end == start:
                self._rest = bytearray(frames[start:])
                break
            start = end
        return events

    def _take_frame(
        self, frames: bytes | bytearray, start: int, events: list[FrameEvent]
    ) -> int:
        """Parse the frame at *start*. Return where the next one begins; *start* itself if the
        frame is not complete.
        """
        available = len(frames) - start
        self._needed = 2
        if available < 2:
            return start
        first, second = frames[start], frames[start + 1]
        violation = self._check_start(first, second)
        length = second & ~_MASKED
        length_bytes = _LENGTH_BYTES.get(length, 0)
        header_bytes = 2 + length_bytes + _MASK_BYTES
        if violation is None and length_bytes:
            self._needed = header_bytes
            if available < header_bytes:
                return start
            length = int.from_bytes(frames[start + 2 : start + 2 + length_bytes], "big")
            if length + len(self._fragments or b"") > self._max_message_bytes:
                violation = Violation(_TOO_BIG, "the message is too long")
        if violation is not None:
            self._end(events, violation)
            return len(frames)
        self._needed = header_bytes + length
        if available < self._needed:
            return start
        payload_at, end = start + header_bytes, start + self._needed
        key = frames[payload_at - _MASK_BYTES : payload_at]
        self.frames += 1
        self._take_payload(first, _unmask(key, frames[payload_at:end]), events)
        return end

    def _check_start(self, first: int, second: int) -> Violation | None:
        """Return what is wrong with a frame that begins with these two bytes, or None."""
        opcode = first & 0x0F
        problem = None
        if first & _RESERVED:
            problem = "the reserved bits must be 0"
        elif not second & _MASKED:
            problem = "a client's frames must be masked"
        elif opcode > _PONG or _BINARY < opcode < _CLOSE:
            problem = "the opcode is unknown"
        elif opcode >= _CLOSE:
            if not first & _FINAL or second & ~_MASKED > _MAX_CONTROL_BYTES:
                problem = f"a control frame is whole and has at most {_MAX_CONTROL_BYTES} bytes"
        elif opcode == _CONTINUATION:
            if self._fragments is None:
                problem = "there is no message to continue"
        elif self._fragments is not None:
            problem = "a message within a fragmented message"
        elif opcode == _BINARY:
            return Violation(_UNSUPPORTED_DATA, "text frames only")
        return None if problem is None else Violation(_PROTOCOL_ERROR, problem)

    def _take_payload(self, first: int, payload: bytes, events: list[FrameEvent]) -> None:
        opcode = first & 0x0F
        if opcode == _PING:
            events.append(Ping(payload))
        elif opcode == _CLOSE:
            self._end(events, _parse_close(payload))
        elif opcode < _CLOSE:
            self._take_data(payload, events, is_final=bool(first & _FINAL))

    def _take_data(self, data: bytes, events: list[FrameEvent], *, is_final: bool) -> None:
        message: bytes | bytearray = data
        if self._fragments is not None:
            self._fragments += data
            message = self._fragments
        elif not is_final:
            message = self._fragments = bytearray(data)
        if len(message) > self._max_message_bytes:
            self._end(events, Violation(_TOO_BIG, "the message is too long"))
        elif is_final:
            self._fragments = None
            try:
                events.append(message.decode())
            except UnicodeDecodeError:
                self._end(events, Violation(_INVALID_DATA, "the text is not UTF-8"))

    def _end(self, events: list[FrameEvent], event: Close | Violation) -> None:
        self._has_ended = True
        self._rest = self._fragments = None
        events.append(event)


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


def _parse_close(payload: bytes) -> Close | Violation:
    """Parse the payload of a Close frame (section 5.5.1)."""
    if not payload:
        return Close(NO_STATUS)
    code = int.from_bytes(payload[:2], "big")
    if len(payload) < 2 or not is_close_code(code):
        return Violation(_PROTOCOL_ERROR, "this close code may not be sent")
    try:
        payload[2:].decode()
    except UnicodeDecodeError:
        return Violation(_INVALID_DATA, "the reason is not UTF-8")
    return Close(code)


def _unmask(key: bytes | bytearray, payload: bytes | bytearray) -> bytes:
    size = len(payload)
    mask = (key * (size // _MASK_BYTES + 1))[:size]
    unmasked = int.from_bytes(payload, "little") ^ int.from_bytes(mask, "little")
    return unmasked.to_bytes(size, "little")

"""Reads streams of server-sent events as a browser does (the HTML standard, section 9.2.6)."""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class StreamEvent:
    """An event's data, and the id from which an ``EventSource`` that got it would resume."""

    data: str
    last_id: str


class EventParser:
    """Parses a stream that comes in pieces."""

    def __init__(self) -> None:
        self.comments = 0
        self.retry_ms: int | None = None
        self.last_id = ""
        self._rest = b""
        self._data: list[str] = []

    def feed(self, data: bytes) -> list[StreamEvent]:
        """The events that this completes."""
        *lines, self._rest = re.split(rb"\r\n|\n|\r", self._rest + data)
        found = (self._take(line.decode()) for line in lines)
        return [event for event in found if event is not None]

    def _take(self, line: str) -> StreamEvent | None:
        if not line:
            data, self._data = self._data, []
            return StreamEvent("\n".join(data), self.last_id) if data else None
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "":
                self.comments += 1
            case "data":
                self._data.append(value)
            case "id":
                self.last_id = value
            case "retry":
                self.retry_ms = int(value)
            case _:
                raise ValueError(f"an unexpected line: {line}")
        return None


def parse_events(stream: bytes) -> list[StreamEvent]:
    """All events of a stream."""
    return EventParser().feed(stream)

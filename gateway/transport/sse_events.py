"""Encode what a server-sent event stream consists of (the HTML standard, section 9.2)."""

from collections.abc import Mapping, Sequence
from typing import Final

# A line that starts with a colon is a comment; only the blank line after a block ends an event.
COMMENT: Final = b":\n\n"
_HEAD: Final = (
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n"
    "X-Accel-Buffering: no\r\nConnection: close\r\n"
)


def encode_stream_head(headers: Mapping[str, str], retry_ms: int) -> bytes:
    """The response that opens the stream, whose end is the end of the connection, and after
    how many ms a browser's ``EventSource`` is to come back from a stream that has ended.
    """
    fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"{_HEAD}{fields}\r\nretry: {retry_ms}\n\n".encode()


def encode_event(payload: bytes) -> bytes:
    """An event with this JSON text as its data, without the blank line that ends it."""
    # A line break would end the line. In JSON it can only be white space.
    return b"data: " + payload.translate(None, b"\r\n") + b"\n"


def join_events(events: Sequence[bytes]) -> bytes:
    """Several events, of which only the last is not ended."""
    return b"\n".join(events)


def encode_end(cursors: Sequence[bytes]) -> bytes:
    """The end of an event: its id, from which a client resumes, and a blank line."""
    return b"id: " + b",".join(cursors) + b"\n\n" if cursors else b"\n"


def parse_event_id(text: str) -> list[str]:
    """The cursors in a ``Last-Event-ID``."""
    return [cursor.strip() for cursor in text.split(",")]

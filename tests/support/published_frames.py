"""What channels carry, read by tests."""

from shared.protocol.events import cursor_text
from shared.protocol.replay import Cursor, parse_cursor


def cursor_of(frame: bytes) -> Cursor | None:
    """The cursor of a frame of any channel, or None."""
    return parse_cursor(cursor_text(frame).decode(errors="replace"))

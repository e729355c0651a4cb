"""Reads the cursors of one channel's frames."""

from shared.protocol.channels import Channel
from shared.protocol.events import cursor_text
from shared.protocol.replay import Cursor, parse_cursor, parse_offset


class CursorReader:
    """Remembers how the cursors of a channel begin, and parses only those of a new log."""

    __slots__ = ("_epoch", "_head", "channel")

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self._head = b""  # of no cursor
        self._epoch = ""

    def read(self, frame: bytes) -> Cursor | None:
        """The cursor of a frame, or None if it has none of this channel."""
        text = cursor_text(frame)
        head, _, digits = text.rpartition(b".")
        if head == self._head:
            offset = parse_offset(digits) if head else None
            return None if offset is None else Cursor(self.channel, self._epoch, offset)
        cursor = parse_cursor(text.decode(errors="replace"))
        if cursor is None or cursor.channel != self.channel:
            return None
        self._head, self._epoch = head, cursor.epoch
        return cursor

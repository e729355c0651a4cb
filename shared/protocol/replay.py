"""Cursors, and whether a channel log proves that a client misses nothing."""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple, TypeAlias

from shared.protocol.channels import Channel, parse_channel_token

_WORD: Final = "[0-9a-zA-Z_-]+"
_CURSOR: Final = re.compile(rf"(.+)\.({_WORD}\.{_WORD})\.([0-9]+)", re.DOTALL)
_MAX_OFFSET: Final = 2**53  # offsets are scores of a sorted set, that is doubles
_MAX_DIGITS: Final = len(str(_MAX_OFFSET))  # int() refuses thousands of them


class Cursor(NamedTuple):
    """A position in one channel's log; a tuple, because one is made for each message.

    ``epoch`` is ``<generation>.<random>``: a new log, or a new generation, has a new epoch.
    ``offset`` is Redis's time of publication in microseconds, made to grow strictly.
    """

    channel: Channel
    epoch: str
    offset: int

    def __str__(self) -> str:
        return f"{self.channel.token}.{self.epoch}.{self.offset}"

    @property
    def generation(self) -> str:
        return self.epoch.partition(".")[0]

    def is_above(self, other: "Cursor") -> bool:
        """Whether a live frame with this cursor may be newer than *other*.

        One of another epoch always may.
        """
        return self.epoch != other.epoch or self.offset > other.offset


@dataclass(frozen=True, slots=True)
class Loaded:
    """A page without a cursor, whose data is complete up to this time of Redis in microseconds.

    The channel log must reach back that far, whatever its epoch.
    """

    offset: int


Since: TypeAlias = Cursor | Loaded | None


class LogHead(NamedTuple):
    """The bounds of a channel log.

    It holds the newest change of every row since ``floor``; the newest of all is at ``last``.
    """

    epoch: str
    floor: int
    last: int


def decide_replay(since: Since, head: LogHead) -> int | None:
    """The offset above which the log has all that a client misses since then; None: a gap.

    Total: a stale, foreign or forged cursor is a gap, never an exception.
    """
    match since:
        case Loaded(offset) if head.floor <= offset:
            return min(offset, head.last)
        case Cursor(_, epoch, offset) if epoch == head.epoch:
            return offset if head.floor <= offset <= head.last else None
    return None


@lru_cache(maxsize=4096)  # each event of a channel needs it, on the listener's hot path
def cursor_head(channel: Channel) -> str:
    """The text of a cursor before its epoch, which ``publish.lua`` appends."""
    return f"{channel.token}."


def parse_cursor(text: str) -> Cursor | None:
    """The cursor in a text, or None: a malformed cursor is a gap, not an error."""
    found = _CURSOR.fullmatch(text)
    if found is None:
        return None
    token, epoch, digits = found.groups()
    channel, offset = parse_channel_token(token), parse_offset(digits.encode())
    return None if channel is None or offset is None else Cursor(channel, epoch, offset)


def parse_offset(digits: bytes) -> int | None:
    """The offset in the last part of a cursor, or None."""
    if not digits.isdigit() or len(digits) > _MAX_DIGITS:
        return None
    offset = int(digits)
    return offset if 0 < offset <= _MAX_OFFSET else None

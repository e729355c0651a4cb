"""Cursors: places in a channel's log; and whether a log proves that nothing is missing."""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, TypeAlias

from shared.protocol.channels import Channel, parse_channel_token

_EPOCH: Final = re.compile(r"[0-9a-zA-Z_-]+\.[0-9a-zA-Z_-]+")
_MAX_OFFSET: Final = 2**53  # offsets are scores of a sorted set, that is doubles
_MAX_DIGITS: Final = len(str(_MAX_OFFSET))  # int() refuses thousands of them


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in one channel's log.

    ``epoch`` is ``<generation>.<random>``: another log, or one of another generation, has
    another epoch. ``offset`` is Redis's time of publication in microseconds, kept growing.
    """

    channel: Channel
    epoch: str
    offset: int

    def __str__(self) -> str:
        return f"{self.channel.token}.{self.epoch}.{self.offset}"

    @property
    def generation(self) -> str:
        return self.epoch.partition(".")[0]

    def is_above(self, place: "Cursor") -> bool:
        """Whether a live frame with this cursor tells more than *place*.

        Another epoch always may.
        """
        return self.epoch != place.epoch or self.offset > place.offset


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a page without a cursor holds is complete up to this time, Redis's in microseconds:
    its log, whatever its epoch, must reach back that far.
    """

    offset: int


Since: TypeAlias = Cursor | Loaded | None


@dataclass(frozen=True, slots=True)
class LogHead:
    """A channel log as a whole.

    The newest change of every row since its ``floor`` is in it, the newest of all at ``last``.
    """

    epoch: str
    floor: int
    last: int


def decide_replay(since: Since, head: LogHead) -> int | None:
    """The offset above which the log's rows are all that was missed since; None is a gap.

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
    """The text of a cursor up to its epoch, which ``publish.lua`` puts behind it."""
    return f"{channel.token}."


def parse_cursor(text: str) -> Cursor | None:
    """The cursor that a text spells.

    None for anything else, which is then a gap and never an error.
    """
    parts = text.rsplit(".", 3)
    if len(parts) != 4:
        return None
    token, generation, random, digits = parts
    channel = parse_channel_token(token)
    epoch = f"{generation}.{random}"
    if channel is None or not _EPOCH.fullmatch(epoch):
        return None
    if not (digits.isascii() and digits.isdigit() and len(digits) <= _MAX_DIGITS):
        return None
    if not 0 < int(digits) <= _MAX_OFFSET:
        return None
    return Cursor(channel, epoch, int(digits))

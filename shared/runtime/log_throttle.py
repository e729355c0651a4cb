"""Limits how often a frequent event is logged."""

from dataclasses import dataclass
from math import inf
from typing import Final

LOG_SECONDS: Final = 10.0


@dataclass(slots=True)
class LogThrottle:
    """Counts events, for at most so many log lines in so many seconds."""

    lines: int = 1
    seconds: float = LOG_SECONDS
    _count: int = 0
    _lines_left: int = 0
    _until: float = -inf

    def count(self, now: float) -> int:
        """Count an event. Return the number of events to log now; 0: no line is due yet."""
        self._count += 1
        return self.due(now)

    def due(self, now: float) -> int:
        """Return the number of events since the last line if another is due, else 0."""
        if not self._count:
            return 0
        if now >= self._until:
            self._lines_left, self._until = self.lines, now + self.seconds
        if not self._lines_left:
            return 0
        count, self._count = self._count, 0
        self._lines_left -= 1
        return count

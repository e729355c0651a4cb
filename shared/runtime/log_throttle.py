"""How often something that may happen all the time is logged."""

from dataclasses import dataclass
from math import inf
from typing import Final

LOG_SECONDS: Final = 10.0


@dataclass(slots=True)
class LogThrottle:
    """Counts occurrences, for one log line in 10 s at most."""

    _count: int = 0
    _next: float = -inf

    def count(self, now: float) -> int:
        """Count one. The number to log now, or 0 if it is not time yet."""
        self._count += 1
        return self.due(now)

    def due(self, now: float) -> int:
        """The number that was counted since the last line, if it is time for another."""
        if not self._count or now < self._next:
            return 0
        count, self._count, self._next = self._count, 0, now + LOG_SECONDS
        return count

"""The database's time of day in a gateway, which has no other clock in common with it."""

from collections import deque
from typing import Final

_TICKS: Final = 10


class DatabaseClock:
    """Follows the database's clock by the leader's ticks; *now* is of one monotonic clock.

    It is late by the least time that one of the last ten ticks took to arrive: usually a
    fraction of a millisecond.
    """

    def __init__(self) -> None:
        self._offsets: deque[float] = deque(maxlen=_TICKS)
        self._offset: float | None = None

    def record(self, database_at: int, now: float) -> None:
        """Take the database's time, in Unix microseconds, from a tick that has arrived."""
        self._offsets.append(database_at / 1e6 - now)
        self._offset = max(self._offsets)

    def forget(self) -> None:
        """Forget all ticks: another database may have sent them."""
        self._offsets.clear()
        self._offset = None

    def read(self, now: float) -> float | None:
        """Return the database's time in Unix seconds; None before the first tick."""
        return None if self._offset is None else now + self._offset

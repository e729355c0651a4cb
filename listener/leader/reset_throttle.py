"""How often a cause that outsiders can repeat may reset every client."""

from dataclasses import dataclass
from math import inf
from typing import Final

_FIRST_PAUSE_SECONDS: Final = 1.0
_LAST_PAUSE_SECONDS: Final = 30.0


@dataclass(slots=True)
class ResetThrottle:
    """The pause between two resets for the same cause.

    1 s after the first reset, then 2, 4, 8 .. 30 s while the cause persists. A cause that has
    not recurred for twice the pause has ended. The caller remembers one that is not due yet.
    """

    _pause: float = 0.0
    _last: float = -inf

    def is_due(self, now: float) -> bool:
        return now >= self._last + self._pause

    def record(self, now: float) -> None:
        """Every client was reset for that cause."""
        persists = now < self._last + 2 * self._pause + _FIRST_PAUSE_SECONDS
        self._pause = (
            min(2 * self._pause, _LAST_PAUSE_SECONDS) if persists else _FIRST_PAUSE_SECONDS
        )
        self._last = now

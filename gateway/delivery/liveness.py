"""What the leader's ticks prove: that changes arrive as they happen, and up to when a page of
some age is complete in Redis's time.
"""

from collections import deque
from typing import Final

from shared.protocol.control_messages import Tick
from shared.protocol.replay import Loaded

MISSING_SECONDS: Final = 5.0
# In a cluster events and rechecks come from different nodes. A gateway that is cut off from the
# node of the rechecks must stop events in time: SECURITY.md promises 3 s.
CLUSTER_MISSING_SECONDS: Final = 2.5
_KEPT_SECONDS: Final = 120.0
# from when the client computes its page's age to when we do; the client checks that it was less
_HANDSHAKE_SECONDS: Final = 5.0
_MARGIN_MICROSECONDS: Final = 1_000_000


class Liveness:
    """The ticks of the last two minutes. *now* is always of the same monotonic clock.

    A leader is missing after *missing_seconds* without a tick.
    """

    def __init__(self, now: float, *, missing_seconds: float = MISSING_SECONDS) -> None:
        self._missing_seconds = missing_seconds
        self._last_tick_at = now  # a leader has as long for its first tick
        self._is_live = True
        self._ticks: deque[tuple[float, int]] = deque()  # when each arrived, and its own time

    def record(self, tick: Tick, now: float) -> None:
        """Record a tick that has just arrived.

        If its time is not above that of the tick before, Redis or its clock has changed, and
        the ticks before it are forgotten.
        """
        if self._ticks and tick.at <= self._ticks[-1][1]:
            self._ticks.clear()
        self._ticks.append((now, tick.at))
        while self._ticks[0][0] < now - _KEPT_SECONDS:
            self._ticks.popleft()
        self._last_tick_at = now
        self._is_live = tick.live

    def forget(self) -> None:
        """Forget all ticks: what was published before a reset proves nothing."""
        self._ticks.clear()

    def tick_age(self, now: float) -> float:
        """Return the seconds since the last tick, or since the start."""
        return now - self._last_tick_at

    def is_missing(self, now: float) -> bool:
        """Whether no leader ticks, so that changes and rechecks may be missed."""
        return self.tick_age(now) >= self._missing_seconds

    def is_live(self, now: float) -> bool:
        """Whether a leader ticks and captures all changes."""
        return self._is_live and not self.is_missing(now)

    def loaded(self, age_seconds: float, now: float) -> Loaded | None:
        """Return up to when a page is complete that was fetched at most *age_seconds* before
        its client began to connect; None if no tick is old enough to prove it.
        """
        latest = now - age_seconds - _HANDSHAKE_SECONDS
        for arrived_at, at in reversed(self._ticks):
            if arrived_at <= latest:
                return Loaded(at - _MARGIN_MICROSECONDS)
        return None

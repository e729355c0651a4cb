"""What the leader's ticks tell.

Whether changes are being told as they happen, and what the age of a page means in Redis's time.
"""

from collections import deque
from typing import Final

from shared.protocol.control_messages import Tick
from shared.protocol.replay import Loaded

MISSING_SECONDS: Final = 5.0
_REMEMBERED_SECONDS: Final = 120.0
# from the client's reckoning of its age to ours; the client checks that it was no more
_HANDSHAKE_SECONDS: Final = 5.0
_MARGIN_MICROSECONDS: Final = 1_000_000


class Liveness:
    """The ticks of the last two minutes. Times are of one monotonic clock, in seconds."""

    def __init__(self, now: float) -> None:
        self._heard_at = now  # a leader has as long to tick for the first time
        self._is_live = True
        self._times: deque[tuple[float, int]] = deque()

    def record(self, tick: Tick, now: float) -> None:
        """A tick came. One whose time did not grow is another clock's, or another Redis's."""
        if self._times and tick.at <= self._times[-1][1]:
            self._times.clear()
        self._times.append((now, tick.at))
        while self._times[0][0] < now - _REMEMBERED_SECONDS:
            self._times.popleft()
        self._heard_at = now
        self._is_live = tick.live

    def forget(self) -> None:
        """There was a reset: what was published before it proves nothing."""
        self._times.clear()

    def is_missing(self, now: float) -> bool:
        """Whether no leader ticks: whatever it would have sent may be missing."""
        return now - self._heard_at >= MISSING_SECONDS

    def is_live(self, now: float) -> bool:
        """Whether nothing is being missed, as far as the ticks tell."""
        return self._is_live and not self.is_missing(now)

    def loaded(self, age_seconds: float, now: float) -> Loaded | None:
        """Up to where a page is complete all of which was fetched at most *age_seconds* before
        its client began to connect; None if no tick is old enough to tell.
        """
        latest = now - age_seconds - _HANDSHAKE_SECONDS
        for heard_at, at in reversed(self._times):
            if heard_at <= latest:
                return Loaded(at - _MARGIN_MICROSECONDS)
        return None

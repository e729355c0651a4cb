"""Decides when the leader reads the change log next."""

from dataclasses import dataclass
from typing import Final

SAFETY_POLL_SECONDS: Final = 0.25
_FAST_POLL_SECONDS: Final = 0.01
_FAST_POLLS: Final = 500
_FIRST_POLL_SECONDS: Final = 0.002
_LAST_POLL_SECONDS: Final = 0.128
_PAUSE_SECONDS_PER_ROW: Final = 0.00025
_MAX_PAUSE_SECONDS: Final = 0.01
_MAX_EMPTY_WAKE_UPS: Final = 20


def pause_after(rows: int) -> float:
    """Seconds to leave the log alone after a read that found this many rows.

    The busier the writers are, the more rows share the cost of a read and of a round trip to
    Redis, which the writers pay too where all run on one machine. No event waits longer than
    this: next to nothing when changes are few, 1 ms at 1,500 a second, 10 ms at 4,000 a second
    and more.
    """
    return min(rows * _PAUSE_SECONDS_PER_ROW, _MAX_PAUSE_SECONDS)


@dataclass(slots=True)
class ReadSchedule:
    """The poll interval: how long to wait for a wake-up before reading without one.

    A writer skips its NOTIFY while another transaction holds the wake-up lock. So after a
    wake-up, or a read that found rows, the log is read again after 2, 4, 8 .. 128 ms, starting
    over with each read that finds rows. After that the safety poll reads every 250 ms.

    Writers may be kept from waking the leader: a session that is not a writer holds the lock
    (``is_unwoken``), or a writer holds it for long, after SET CONSTRAINTS ALL IMMEDIATE. In the
    first case the poll interval is 10 ms until the lock is free. The second shows when the
    safety poll finds rows that no wake-up announced: the interval is 10 ms until a wake-up
    comes, or nothing was found for 5 s.

    Anybody may send wake-ups. After 20 in a row that found nothing, each further one waits for
    10 ms, until a read finds rows or a wait ends without a wake-up.
    """

    _next: float = SAFETY_POLL_SECONDS
    is_unwoken: bool = False
    _empty_wake_ups: int = 0  # in a row
    _was_woken: bool = False
    _was_safety_poll: bool = False  # the wait that has ended
    _fast_polls: int = 0  # left

    def wake(self) -> None:
        """A wake-up came."""
        self._next = _FIRST_POLL_SECONDS
        self._was_safety_poll, self._fast_polls = False, 0
        self._empty_wake_ups += 1
        self._was_woken = True

    def pause(self, rows: int) -> float:
        """Seconds to leave the log alone after a read that found this many rows."""
        if rows or not self._was_woken:
            self._empty_wake_ups = 0
        self._was_woken = False
        too_many = self._empty_wake_ups > _MAX_EMPTY_WAKE_UPS
        return _MAX_PAUSE_SECONDS if too_many else pause_after(rows)

    def next_wait(self, *, found: bool) -> float:
        """Seconds to wait for a wake-up after a read, which *found* rows or not."""
        if found:
            self._next = _FIRST_POLL_SECONDS
            if self._was_safety_poll or self._fast_polls:
                self._fast_polls = _FAST_POLLS
        wait, self._next = self._next, self._next * 2
        if wait > _LAST_POLL_SECONDS:
            wait = self._next = SAFETY_POLL_SECONDS
        self._was_safety_poll = wait == SAFETY_POLL_SECONDS
        self._fast_polls = max(0, self._fast_polls - 1)
        is_fast = self.is_unwoken or self._fast_polls
        return min(wait, _FAST_POLL_SECONDS) if is_fast else wait


@dataclass(frozen=True, slots=True)
class WakeUpHolder:
    """A session that holds the lock by which one of many writers wakes the leader."""

    pid: int
    role: str
    backend_start: str


@dataclass(slots=True)
class WakeUpWatch:
    """Finds sessions that keep the wake-up lock, which any role can take.

    A writer holds it only while it commits. A session that holds it at two checks in a row, a
    second apart, keeps it.
    """

    _seen: frozenset[WakeUpHolder] = frozenset()
    keeping: frozenset[WakeUpHolder] = frozenset()

    def check(self, holders: frozenset[WakeUpHolder]) -> frozenset[WakeUpHolder]:
        """Those that keep it, and did not at the last check."""
        before, self.keeping = self.keeping, holders & self._seen
        self._seen = holders
        return self.keeping - before

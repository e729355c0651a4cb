"""When the leader reads the change log next."""

from dataclasses import dataclass
from typing import Final

NET_SECONDS: Final = 0.25
_UNWOKEN_SECONDS: Final = 0.01
_UNANNOUNCED_READS: Final = 500
_FIRST_SECONDS: Final = 0.002
_LAST_SECONDS: Final = 0.128
_REST_SECONDS_PER_ROW: Final = 0.00025
_MAX_REST_SECONDS: Final = 0.01
_FREE_WAKE_UPS: Final = 20


def rest_after(rows: int) -> float:
    """Seconds to leave the log alone after a read that found so many rows.

    The busier the writers are, the more rows share the cost of a read and of a round trip to
    Redis, which the writers pay too where all run on one machine. No event waits for longer:
    next to nothing where changes are few, 1 ms at 1,500 a second, 10 ms from 4,000 a second on.
    """
    return min(rows * _REST_SECONDS_PER_ROW, _MAX_REST_SECONDS)


@dataclass(slots=True)
class ReadSchedule:
    """When to read the log next.

    Whoever skipped its NOTIFY was committing while another held the token. So after a wake-up
    or a find the log is read at once, again after 2, 4, 8 .. 128 ms, starting anew with each
    find; the net under it is a read every 250 ms, or every 10 ms while a session that is no
    writer of ours keeps all others from waking us (``is_unwoken``). A writer may do so too,
    after SET CONSTRAINTS ALL IMMEDIATE: when the net finds rows that no wake-up has announced,
    it is a read every 10 ms until one comes, or nothing was found for 5 s.

    Anybody may send wake-ups. When 20 in a row found nothing, each further one has to wait for
    10 ms, until a read finds something or a wait ends without one.
    """

    _next: float = NET_SECONDS
    is_unwoken: bool = False
    _wake_ups: int = 0  # in a row, each of which found nothing
    _was_woken: bool = False
    _is_net: bool = False  # the wait that has ended
    _unannounced: int = 0  # reads left, every 10 ms

    def woken(self) -> None:
        self._next = _FIRST_SECONDS
        self._is_net, self._unannounced = False, 0
        self._wake_ups += 1
        self._was_woken = True

    def rest(self, rows: int) -> float:
        """Seconds to leave the log alone after a read that found so many rows, woken or not."""
        if rows or not self._was_woken:
            self._wake_ups = 0
        self._was_woken = False
        return _MAX_REST_SECONDS if self._wake_ups > _FREE_WAKE_UPS else rest_after(rows)

    def next_wait(self, *, found: bool) -> float:
        """Seconds to wait after a read for the next one, unless a wake-up comes first."""
        if found:
            self._next = _FIRST_SECONDS
            if self._is_net or self._unannounced:
                self._unannounced = _UNANNOUNCED_READS
        wait, self._next = self._next, self._next * 2
        if wait > _LAST_SECONDS:
            wait = self._next = NET_SECONDS
        self._is_net = wait == NET_SECONDS
        self._unannounced = max(0, self._unannounced - 1)
        is_unwoken = self.is_unwoken or self._unannounced
        return min(wait, _UNWOKEN_SECONDS) if is_unwoken else wait


@dataclass(frozen=True, slots=True)
class WakeUpHolder:
    """A session that holds the lock by which one of many writers wakes the leader."""

    pid: int
    role: str
    backend_start: str


@dataclass(slots=True)
class WakeUpWatch:
    """Finds sessions that keep the wake-up lock, which any role can take.

    A writer has it for the moment of its commit, so whoever has it at two looks in a row, a
    second apart, keeps it.
    """

    _seen: frozenset[WakeUpHolder] = frozenset()
    keeping: frozenset[WakeUpHolder] = frozenset()

    def look(self, holders: frozenset[WakeUpHolder]) -> frozenset[WakeUpHolder]:
        """Those that keep it, and did not at the last look."""
        before, self.keeping = self.keeping, holders & self._seen
        self._seen = holders
        return self.keeping - before

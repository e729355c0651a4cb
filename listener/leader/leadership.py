"""What a leader decides: where to go on from, what a read means, and when to read next."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Final

import orjson

from listener.leader.log_row import LogRow
from listener.leader.publication import Reset
from shared.protocol.events import Reason, as_reason

NET_SECONDS: Final = 0.25
_UNWOKEN_SECONDS: Final = 0.01
_UNANNOUNCED_READS: Final = 500
_FIRST_SECONDS: Final = 0.002
_LAST_SECONDS: Final = 0.128
_REST_SECONDS_PER_ROW: Final = 0.00025
_MAX_REST_SECONDS: Final = 0.01
MAX_ROWS_PER_READ: Final = 100_000
PATIENCE_SECONDS: Final = 5.0
# More than a standby's patience: as long as the other database has listeners, it has a leader.
OWNER_PATIENCE_SECONDS: Final = 10.0
_MAX_UNSEEN_SECONDS: Final = 3.0
MAX_PUBLISH_TRIES: Final = 5  # of a batch, before it is a reset
_FREE_WAKE_UPS: Final = 20
_FIRST_PAUSE_SECONDS: Final = 1.0
_LAST_PAUSE_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class LogCursor:
    """A place in the change log: whose log (identity), and the ``pg_snapshot`` of all that was
    seen.
    """

    identity: str
    snapshot: str

    def to_json(self) -> str:
        return orjson.dumps({"identity": self.identity, "snapshot": self.snapshot}).decode()

    @property
    def incarnation(self) -> str:
        return self.identity.rpartition(".")[2]

    @property
    def database(self) -> str:
        """Which database of which cluster; outlives its restarts and a physical failover."""
        return ".".join(self.identity.split(".")[:2])


@dataclass(frozen=True, slots=True)
class SnapshotCursor:
    """Where a leader stands: its cursor in PostgreSQL, under this generation in this Redis.

    ``reason`` is that of the newest reset, ``capture`` the fingerprint of the triggers that
    have captured everything since. Not ``live``: triggers skip the log (it is full, or
    disabled), or transactions that may have skipped it are still running: those that began
    before ``barrier``, an xid (None: none was taken yet). A successor takes one anew.
    """

    generation: str
    cursor: LogCursor
    redis: str
    reason: Reason
    live: bool = True
    barrier: int | None = None
    capture: str = ""


@dataclass(frozen=True, slots=True)
class CaptureState:
    """Our triggers, and what belongs to them, as they are in the database.

    ``differences`` from what was installed, a line each. ``fingerprint``: another one after any
    change, even one that was undone; ``is_new``: than at the look before.
    """

    fingerprint: str = ""
    differences: tuple[str, ...] = ()
    is_new: bool = False


@dataclass(frozen=True, slots=True)
class Batch:
    """One read of the log.

    ``cursor`` is the one that it makes, ``cursor_ahead`` says that the former can't be of this
    database's past, ``rows`` are what the former had not seen, oldest first, ``oldest_age`` the
    first one's age in seconds. ``is_skipping``: triggers that look now do not log, or some did
    not since that was last noted;
    ``has_skipped``: a leader noted that they did, and none has reset behind a barrier since.
    ``has_moved``: projects have to be told once more. No transaction with an xid below
    ``oldest_xid`` is running.
    """

    cursor: LogCursor
    cursor_ahead: bool
    rows: Sequence[LogRow]
    oldest_age: float
    is_skipping: bool = False
    has_skipped: bool = False
    oldest_xid: int = 0
    has_moved: bool = False


def decide_adoption(
    state: Mapping[str, str], *, redis_identity: str, raw_notify_lost: bool
) -> SnapshotCursor | Reset:
    """Where a leader goes on from, given the state stored in Redis (empty if there is none)."""
    generation = state.get("generation", "")
    cursor = parse_log_cursor(state.get("cursor", ""))
    stored_in = state.get("redis", "")
    reason = state.get("reason", "")
    live = state.get("live", "1") == "1"
    if not generation or cursor is None or stored_in != redis_identity:
        return Reset("gap", live)
    if raw_notify_lost:
        return Reset("notify_reconnect", live)
    return SnapshotCursor(
        generation, cursor, stored_in, as_reason(reason), live, capture=state.get("capture", "")
    )


def weigh_capture(
    batch: Batch, place: SnapshotCursor, capture: CaptureState, *, lacks_members: bool
) -> Batch:
    """The batch, as one that is skipping where triggers differ from what was installed, or
    members can't be asked for; and as one that has skipped where triggers were changed since
    the newest reset. A barrier from before a change is void.

    After ``install`` that reset is about to come: it made another identity.
    """
    if batch.cursor.identity != place.cursor.identity:
        return batch
    was_changed = capture.fingerprint != place.capture
    is_changing = bool(capture.differences) or (was_changed and capture.is_new)
    return replace(
        batch,
        is_skipping=batch.is_skipping or lacks_members or is_changing,
        has_skipped=batch.has_skipped or was_changed,
    )


@dataclass(slots=True)
class OwnerWatch:
    """Whether the listener of another database uses the same channels and keys in Redis.

    Two of them would reset each other's clients without end, and each would tell its clients of
    the other's projects. Who is there stays: a database that took its place (restored, or
    upgraded to another cluster) waits until its leader shows no sign of life any more.
    """

    _sign: str | None = None
    _since: float = 0.0

    def must_wait(self, state: Mapping[str, str], *, database: str, now: float) -> bool:
        """Whether the leader of this *database* must not lead yet, given the stored state."""
        if state.get("database", database) == database:
            return False
        sign = state.get("alive", "")
        if sign != self._sign:
            self._sign, self._since = sign, now
        return now - self._since < OWNER_PATIENCE_SECONDS


def decide_liveness(place: SnapshotCursor, batch: Batch) -> SnapshotCursor | Reset:
    """Whether all that was committed is in the log, as of this read.

    What a transaction skipped is in no log, and it may commit long after it skipped. So once
    nothing is skipped any more a barrier is taken, and when every transaction from before it
    has ended, a reset covers them all.
    """
    if batch.is_skipping:
        return replace(place, live=False, barrier=None)
    if place.live and not batch.has_skipped:
        return place
    if place.barrier is None:
        return replace(place, live=False)
    return Reset("log_full") if batch.oldest_xid >= place.barrier else place


def needs_barrier(place: SnapshotCursor, batch: Batch) -> bool:
    """Whether a barrier must be taken now: an xid assigned after this read, as by then whoever
    skipped had one. (The end of a snapshot is none: it is next to the newest *completed* xid.)
    """
    return not place.live and place.barrier is None and not batch.is_skipping


def parse_log_cursor(text: str) -> LogCursor | None:
    """The cursor that ``LogCursor.to_json`` wrote, or None."""
    try:
        fields = orjson.loads(text)
        return LogCursor(str(fields["identity"]), str(fields["snapshot"]))
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None


def decide_batch(cursor: LogCursor, batch: Batch) -> Reset | None:
    """Why a read from *cursor* can't be told row by row, if it can't.

    A log that is not the cursor's, or too far ahead of it, proves nothing.
    """
    if batch.cursor.identity != cursor.identity or batch.cursor_ahead:
        return Reset("log_lost")
    if len(batch.rows) > MAX_ROWS_PER_READ:
        return Reset("bulk_change")
    return None


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


@dataclass(slots=True)
class ResetThrottle:
    """How soon a cause that strangers can repeat may reset everybody again.

    1 s after the first reset, then 2, 4, 8 .. 30 s while it persists. A pause of twice that
    length ends it. Until it is due the cause is remembered by its owner.
    """

    _pause: float = 0.0
    _last: float = -inf

    def is_due(self, now: float) -> bool:
        return now >= self._last + self._pause

    def note(self, now: float) -> None:
        """Everybody was reset for that cause."""
        persists = now < self._last + 2 * self._pause + _FIRST_PAUSE_SECONDS
        self._pause = (
            min(2 * self._pause, _LAST_PAUSE_SECONDS) if persists else _FIRST_PAUSE_SECONDS
        )
        self._last = now


@dataclass(slots=True)
class LeaderWatch:
    """When a standby ends the leader's session: its process is frozen, or it is cut off.

    A leader shows a new sign of life in Redis each second, once PostgreSQL has answered it. The
    clock runs only while the standby sees the signs: with another holder of the lock, a look
    that failed, or too long between two, it starts anew, so that no outage of Redis, and no
    freeze of the standby, ends a healthy leader.
    """

    _seen: tuple[int, str] | None = None
    _since: float = 0.0
    _looked_at: float = 0.0

    def is_dead(self, *, holder: int, sign: str, now: float, waits: bool = False) -> bool:
        """Whether to end the session *holder*, given the newest sign of life.

        A leader that *waits* for another database's leader shows none of its own: it has as
        long again as it must wait once the other's signs have ended.
        """
        patience = PATIENCE_SECONDS + OWNER_PATIENCE_SECONDS * waits
        seen = (holder, sign)
        if seen != self._seen or now - self._looked_at > _MAX_UNSEEN_SECONDS:
            self._seen, self._since = seen, now
        self._looked_at = now
        return now - self._since >= patience

    def start_anew(self) -> None:
        """The signs could not be seen, or the session was ended."""
        self._seen = None

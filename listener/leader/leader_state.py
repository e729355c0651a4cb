"""How far a leader has read the change log, what a read returned, and where a leader starts."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, NamedTuple

import orjson

from listener.leader.log_row import LogRow
from listener.leader.publication import Reset
from shared.protocol.events import Reason, as_reason

MAX_ROWS_PER_READ: Final = 100_000
MAX_AGES: Final = 1_000  # of a batch


@dataclass(frozen=True, slots=True)
class SnapshotCursor:
    """How far the change log was read.

    ``identity`` says which log it is, ``snapshot`` is the ``pg_snapshot`` that sees everything
    that was read.
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
        """Which database of which cluster; survives restarts and a physical failover."""
        return ".".join(self.identity.split(".")[:2])


@dataclass(frozen=True, slots=True)
class LeaderState:
    """The state that a leader stores in Redis, and its successor starts from.

    ``cursor`` is how far it has read, ``redis`` the identity of the Redis that stores the
    generation, ``reason`` that of the newest reset, and ``capture`` the fingerprint of the
    triggers that have captured everything since. Not ``live``: triggers skip the log (it is
    full, or disabled), or transactions that may have skipped it are still running. These began
    before ``barrier``, an xid (None: not taken yet). The barrier is not stored: a successor
    takes another one.
    """

    generation: str
    cursor: SnapshotCursor
    redis: str
    reason: Reason
    live: bool = True
    barrier: int | None = None
    capture: str = ""


@dataclass(frozen=True, slots=True)
class Batch:
    """One read of the log.

    ``cursor`` is where the next read starts; ``rows`` are what the former cursor had not seen,
    oldest first, and ``oldest_age`` is the age of the first one in seconds, at ``read_at`` by
    the database's clock. ``cursor_ahead``: the former cursor cannot be from this database's
    past.

    ``is_skipping``: triggers skip the log now, or some did since a leader last noted it.
    ``has_skipped``: a leader noted that they did, and no reset behind a barrier has followed.
    ``has_moved``: there are moved projects that must be reset once more. No transaction with an
    xid below ``oldest_xid`` is running.
    """

    cursor: SnapshotCursor
    cursor_ahead: bool
    rows: Sequence[LogRow]
    oldest_age: float
    is_skipping: bool = False
    has_skipped: bool = False
    oldest_xid: int = 0
    has_moved: bool = False
    read_at: datetime | None = None


class LogSize(NamedTuple):
    """The size of the change log, its limit, and how full the queue of NOTIFYs is (0 to 1)."""

    rows: int  # an estimate
    bytes: int
    max_bytes: int
    queue_usage: float


def change_ages(batch: Batch) -> Iterator[tuple[float, int]]:
    """Yield the ages of the batch's changes in seconds when they were read, each with the
    number of changes that it stands for: of a large batch a sample of ``MAX_AGES`` is taken.
    """
    if batch.read_at is None:
        return
    step = 1 + len(batch.rows) // MAX_AGES
    for row in batch.rows[::step]:
        if row.at is not None:
            yield (batch.read_at - row.at).total_seconds(), step


def parse_snapshot_cursor(text: str) -> SnapshotCursor | None:
    """The cursor that ``SnapshotCursor.to_json`` wrote, or None."""
    try:
        fields = orjson.loads(text)
        return SnapshotCursor(str(fields["identity"]), str(fields["snapshot"]))
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None


def decide_adoption(
    state: Mapping[str, str],
    *,
    redis_identity: str,
    raw_notify_lost: bool,
    own: LeaderState | None = None,
) -> LeaderState | Reset:
    """Decide where a leader starts, given the state stored in Redis (empty if none is).

    *own* is the state that this leader itself has reached. It is given only where another
    server proves nothing lost except the state: in a cluster, where channels of that server are
    reset by the slot table.
    """
    generation = state.get("generation", "")
    cursor = parse_snapshot_cursor(state.get("cursor", ""))
    stored_in = state.get("redis", "")
    reason = state.get("reason", "")
    live = state.get("live", "1") == "1"
    if own is not None and generation == own.generation and not raw_notify_lost:
        # The stored cursor may be older. The rows above it may be gone, but were published.
        return replace(own, redis=redis_identity)
    if not generation or cursor is None or stored_in != redis_identity:
        return Reset("gap", live)
    if raw_notify_lost:
        return Reset("notify_reconnect", live)
    return LeaderState(
        generation, cursor, stored_in, as_reason(reason), live, capture=state.get("capture", "")
    )


def decide_batch(cursor: SnapshotCursor, batch: Batch) -> Reset | None:
    """The reset that must replace the rows of a read from *cursor*, if any.

    A log that is not the cursor's, or that the cursor is ahead of, proves nothing.
    """
    if batch.cursor.identity != cursor.identity or batch.cursor_ahead:
        return Reset("log_lost")
    if len(batch.rows) > MAX_ROWS_PER_READ:
        return Reset("bulk_change")
    return None

"""How far a leader has read the change log, what a read returned, and where a leader starts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import orjson

from listener.leader.log_row import LogRow
from listener.leader.publication import Reset
from shared.protocol.events import Reason, as_reason

MAX_ROWS_PER_READ: Final = 100_000


@dataclass(frozen=True, slots=True)
class SnapshotCursor:
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
class LeaderState:
    """Where a leader stands: its cursor in PostgreSQL, under this generation in this Redis.

    ``reason`` is that of the newest reset, ``capture`` the fingerprint of the triggers that
    have captured everything since. Not ``live``: triggers skip the log (it is full, or
    disabled), or transactions that may have skipped it are still running: those that began
    before ``barrier``, an xid (None: none was taken yet). A successor takes one anew.
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

    ``cursor`` is the one that it makes, ``cursor_ahead`` says that the former can't be of this
    database's past, ``rows`` are what the former had not seen, oldest first, ``oldest_age`` the
    first one's age in seconds. ``is_skipping``: triggers that look now do not log, or some did
    not since that was last noted;
    ``has_skipped``: a leader noted that they did, and none has reset behind a barrier since.
    ``has_moved``: projects have to be told once more. No transaction with an xid below
    ``oldest_xid`` is running.
    """

    cursor: SnapshotCursor
    cursor_ahead: bool
    rows: Sequence[LogRow]
    oldest_age: float
    is_skipping: bool = False
    has_skipped: bool = False
    oldest_xid: int = 0
    has_moved: bool = False


def parse_snapshot_cursor(text: str) -> SnapshotCursor | None:
    """The cursor that ``SnapshotCursor.to_json`` wrote, or None."""
    try:
        fields = orjson.loads(text)
        return SnapshotCursor(str(fields["identity"]), str(fields["snapshot"]))
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None


def decide_adoption(
    state: Mapping[str, str], *, redis_identity: str, raw_notify_lost: bool
) -> LeaderState | Reset:
    """Where a leader goes on from, given the state stored in Redis (empty if there is none)."""
    generation = state.get("generation", "")
    cursor = parse_snapshot_cursor(state.get("cursor", ""))
    stored_in = state.get("redis", "")
    reason = state.get("reason", "")
    live = state.get("live", "1") == "1"
    if not generation or cursor is None or stored_in != redis_identity:
        return Reset("gap", live)
    if raw_notify_lost:
        return Reset("notify_reconnect", live)
    return LeaderState(
        generation, cursor, stored_in, as_reason(reason), live, capture=state.get("capture", "")
    )


def decide_batch(cursor: SnapshotCursor, batch: Batch) -> Reset | None:
    """Why a read from *cursor* can't be told row by row, if it can't.

    A log that is not the cursor's, or too far ahead of it, proves nothing.
    """
    if batch.cursor.identity != cursor.identity or batch.cursor_ahead:
        return Reset("log_lost")
    if len(batch.rows) > MAX_ROWS_PER_READ:
        return Reset("bulk_change")
    return None

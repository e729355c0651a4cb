"""Reads, prunes and writes ``neverstale.change_log``, and what belongs to it."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import asyncpg

from listener.capture.log_actions import RECONNECT_USER
from listener.leader.completeness import CaptureState
from listener.leader.leader_state import MAX_ROWS_PER_READ, Batch, LogSize, SnapshotCursor
from listener.leader.log_row import LogRow
from listener.leader.publication import USER_MAX_ROWS, PublicationRules
from listener.leader.read_schedule import WakeUpHolder
from listener.links.pg_link import Connection, translated_errors

_SQL: Final = Path(__file__).parent / "sql"
READ_SQL: Final = (_SQL / "read.sql").read_text()
_BACKLOG: Final = (_SQL / "backlog.sql").read_text()
_LOG: Final = "neverstale.change_log l"
_READABLE: Final = f"({(_SQL / 'readable.sql').read_text()}) l"
_CAPTURE: Final = (_SQL / "capture.sql").read_text()
_PRUNE: Final = (_SQL / "prune.sql").read_text()
_SIZE: Final = (_SQL / "size.sql").read_text()
MAX_ROWS_PER_PRUNE: Final = 20_000
_PLAIN_ROWS: Final = 5_000  # PostgreSQL conflates a backlog of more rows
_BACKLOG_SECONDS: Final = 600.0
_FILL: Final = "insert into neverstale.incarnation default values on conflict do nothing"
# Who holds the lock that neverstale.wake() takes: a writer holds it while it commits. A role's
# name may be in any encoding.
_WAKE_UP_HOLDERS: Final = """\
select l.pid, regexp_replace(a.usename::text, '[^ -~]', '?', 'g'), a.backend_start::text
  from pg_locks l join pg_stat_activity a using (pid)
 where l.locktype = 'advisory' and l.granted and l.objsubid = 2
   and l.classid = 1853187955 and l.objid = 2
   and l.database = (select oid from pg_database where datname = current_database())"""
_ASSIGN_XID: Final = "select pg_current_xact_id()::text::bigint"
_IS_SEEN_RAW: Final = "select is_called from neverstale.raw_notify_seen"
_SEEN_RAW: Final = f"select setval('neverstale.raw_notify_seen', 1) where not ({_IS_SEEN_RAW})"
_NOTE_SKIPPED: Final = """\
select setval('neverstale.skipped', 1),
       setval('neverstale.skips_noted', s.last_value, s.is_called)
  from neverstale.skips s, neverstale.skips_noted n, neverstale.skipped k
 where not k.is_called or (s.last_value, s.is_called) <> (n.last_value, n.is_called)"""
_RESET_MOVED: Final = """\
with ended as (
    delete from neverstale.moved
     where barrier <= pg_snapshot_xmin(pg_current_snapshot())
    returning project_id
)
insert into neverstale.change_log (project_id, resource, action)
select distinct project_id, 'bulk_change', 'RECONNECT' from ended"""
# A barrier that is not assigned yet comes from another cluster, by a restored dump.
_BAR_MOVED: Final = """\
update neverstale.moved set barrier = pg_current_xact_id()
 where barrier is null or barrier >= pg_snapshot_xmax(pg_current_snapshot())"""
_FORGET_SKIPPED: Final = "select setval('neverstale.skipped', 1, false)"
_INSERT: Final = """\
insert into neverstale.change_log (project_id, user_id, resource, id, action, at)
select project_id, user_id, resource, id, action, coalesce(at, clock_timestamp())
  from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::timestamptz[])
       as raw (project_id, user_id, resource, id, action, at)"""


class BadValue(Exception):
    """PostgreSQL, or its driver, cannot encode or decode a value: a retry would not help."""


@asynccontextmanager
async def _telling_bad_values() -> AsyncIterator[None]:
    async with translated_errors():
        try:
            yield
        except (ValueError, OverflowError, asyncpg.DataError) as exc:
            raise BadValue(f"{type(exc).__name__}: {exc}") from exc


class ChangeLog:
    """The change log, on the listener's connection. Every method raises ``PgLost``."""

    def __init__(self, connection: Connection, rules: PublicationRules) -> None:
        self._connection = connection
        self._rules = rules

    async def read(self, cursor: SnapshotCursor | None, *, ascii_only: bool = False) -> Batch:
        """Read everything committed that *cursor* has not seen, and the cursor that has.

        Without a cursor there are no rows. A backlog is conflated, and has at most
        ``MAX_ROWS_PER_READ + 1`` rows. With *ascii_only* a row with other characters, which may
        not be valid UTF-8, becomes a reset of its project or of everything. Raises ``BadValue``
        if the cursor or a row cannot be read.
        """
        snapshot = cursor.snapshot if cursor else None
        source = _READABLE if ascii_only else _LOG
        sql = READ_SQL.replace(_LOG, source)
        async with _telling_bad_values():
            head, *rows = await self._connection.fetch(sql, snapshot, _PLAIN_ROWS + 1)
            while head["identity"] is None:
                # A crash has emptied the unlogged table. It is filled before the snapshot is
                # taken that becomes the cursor.
                await self._connection.execute(_FILL)
                head, *rows = await self._connection.fetch(sql, snapshot, _PLAIN_ROWS + 1)
            oldest_age = _oldest_age(head, rows)
            seen = head["snapshot"]
            if len(rows) > _PLAIN_ROWS:
                seen, rows = await self._read_backlog(snapshot, source)
        return Batch(
            SnapshotCursor(head["identity"], seen),
            cursor_ahead=head["cursor_ahead"],
            rows=[_log_row(row) for row in rows],
            oldest_age=oldest_age,
            is_skipping=head["is_skipping"],
            has_skipped=head["has_skipped"],
            has_moved=head["has_moved"],
            oldest_xid=head["oldest_xid"],
            read_at=head["at"],
        )

    async def _read_backlog(
        self, snapshot: str | None, source: str
    ) -> "tuple[str, list[asyncpg.Record]]":
        head, *rows = await self._connection.fetch(
            _BACKLOG.replace(_LOG, source),
            snapshot,
            self._rules.max_rows,
            USER_MAX_ROWS,
            list(self._rules.project_resources),
            MAX_ROWS_PER_READ + 1,
            RECONNECT_USER,
            timeout=_BACKLOG_SECONDS,
        )
        return head["snapshot"], rows

    async def prune(self, saved: SnapshotCursor) -> int:
        """Remove at most ``MAX_ROWS_PER_PRUNE`` rows that the *saved* cursor has seen.

        Returns the number of rows removed.
        """
        async with translated_errors():
            status: str = await self._connection.execute(
                _PRUNE, saved.snapshot, saved.incarnation, MAX_ROWS_PER_PRUNE
            )
        return int(status.rpartition(" ")[2])

    async def size(self) -> LogSize:
        """Return how large the log is."""
        async with translated_errors():
            [row] = await self._connection.fetch(_SIZE)
        return LogSize(*row)

    async def shrink(self) -> None:
        """Return pruned space to the system; without the right to VACUUM autovacuum does."""
        async with translated_errors():
            await self._connection.execute(
                "vacuum (skip_locked) neverstale.change_log", timeout=_BACKLOG_SECONDS
            )

    async def take_barrier(self) -> int:
        """Assign an xid: every transaction that has one already has a lower one."""
        async with translated_errors():
            return int(await self._connection.fetchval(_ASSIGN_XID))

    async def wake_up_holders(self) -> frozenset[WakeUpHolder]:
        """The sessions that hold the wake-up lock."""
        async with translated_errors():
            rows = await self._connection.fetch(_WAKE_UP_HOLDERS)
        return frozenset(WakeUpHolder(*row) for row in rows)

    async def capture(self) -> CaptureState:
        """Compare the triggers with what was installed."""
        return await read_capture(self._connection)

    async def log_moved_projects(self) -> None:
        """Log a reset for each project with moved parents once all their writers have ended.

        A transaction that was running when a parent moved may have written below it with the
        former project. For parents that moved since the last call, take the barrier that all
        such transactions are below.
        """
        async with translated_errors(), self._connection.transaction():
            await self._connection.execute(_RESET_MOVED)
            await self._connection.execute(_BAR_MOVED)

    async def note_skipped(self, *, skipped: bool) -> None:
        """Store, independently of Redis, whether changes may have been skipped."""
        async with translated_errors():
            await self._connection.execute(_NOTE_SKIPPED if skipped else _FORGET_SKIPPED)

    async def write(self, rows: Sequence[LogRow]) -> None:
        """Log the changes of raw NOTIFYs, and remember that a producer sends such.

        Raises ``BadValue`` if the database cannot store a row; then none is written.
        """
        columns = [[getattr(row, name) for row in rows] for name in LogRow.__slots__]
        async with _telling_bad_values(), self._connection.transaction():
            await self._connection.execute(_INSERT, *columns)
            await self._connection.execute(_SEEN_RAW)

    async def raw_notify_seen(self) -> bool:
        """Whether a raw NOTIFY was ever received: one is lost while nobody listens."""
        async with translated_errors():
            return bool(await self._connection.fetchval(_IS_SEEN_RAW))


async def read_capture(connection: Connection) -> CaptureState:
    """Compare the triggers with what was installed. Raises ``PgLost``."""
    async with translated_errors():
        [row] = await connection.fetch(_CAPTURE)
    return CaptureState(row["fingerprint"] or "none", tuple(row["differences"]))


def _log_row(row: "asyncpg.Record") -> LogRow:
    return LogRow(
        row["project_id"], row["user_id"], row["resource"], row["id"], row["action"], row["at"]
    )


def _oldest_age(head: "asyncpg.Record", rows: "Sequence[asyncpg.Record]") -> float:
    if not rows or rows[0]["at"] is None:
        return 0.0
    # The clock may have been set back since, and a raw NOTIFY may carry any time.
    return max(0.0, float((head["at"] - rows[0]["at"]).total_seconds()))

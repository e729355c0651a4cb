"""A small model of PostgreSQL: two projects, who may see them, and the change log."""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TypeAlias, TypeVar

from listener.leader import leader_state
from listener.leader.completeness import CaptureState
from listener.leader.leader_state import Batch, LogSize, SnapshotCursor
from listener.leader.log_row import LogRow
from listener.leader.read_schedule import WakeUpHolder
from listener.links.pg_link import PgLost
from tests.simulation.clockwork import Calls

T = TypeVar("T")
Change: TypeAlias = tuple[str, str, str]  # kind, project, row or user

ID = "1.1"  # of the database, in its cluster
ROWS = {"a": ("a1", "a2", "a3"), "b": ("b1",)}
PROJECT_OF = {row: project for project, rows in ROWS.items() for row in rows}
USERS = ("u", "v", "w")
MAX_ROWS_PER_PRUNE = 2
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class Stored:
    """What an older copy of the database brings back."""

    versions: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PROJECT_OF, 0))
    owners: dict[str, str] = field(default_factory=lambda: {"a": "v", "b": "v"})
    members: set[tuple[str, str]] = field(
        default_factory=lambda: {("a", "u"), ("a", "w"), ("b", "u")}
    )
    log: list[tuple[int, LogRow]] = field(default_factory=list)
    next_xid: int = 10
    incarnation: int = 1
    is_skipping: bool = False
    is_disabled: bool = False
    has_skipped: bool = False


class Database:
    """``at`` of a log row is the number of its commit, in microseconds."""

    def __init__(self) -> None:
        self.now = Stored()
        self.saved: Stored | None = None
        self.running: dict[int, tuple[Change, bool]] = {}
        self.commits = 0
        self.boot = 1
        self.session = 0
        self.lock: int | None = None
        self.is_down_for_gateways = False
        self.lost: dict[tuple[str, str], int] = {}  # the commit that took it, if that is logged

    def may_see(self, project: str, user: str) -> bool:
        return self.now.owners[project] == user or (project, user) in self.now.members

    def projects_of(self, user: str) -> frozenset[str]:
        return frozenset(project for project in ROWS if self.may_see(project, user))

    def value(self, row: str, user: str) -> int | str:
        """What a client of that user gets who fetches the row."""
        may_see = self.may_see(PROJECT_OF[row], user)
        return self.now.versions[row] if may_see else "refused"

    def begin(self, change: Change) -> None:
        self.running[self.now.next_xid] = (change, self.now.is_skipping)
        self.now.next_xid += 1

    def end(self, which: int, *, commits: bool) -> None:
        xid = sorted(self.running)[which % len(self.running)]
        change, skipped = self.running.pop(xid)
        if commits:
            self._commit(xid, change, skipped=skipped)

    def _commit(self, xid: int, change: Change, *, skipped: bool) -> None:
        self.commits += 1
        could = self._who_may()
        rows = self._apply(change)
        if not skipped:
            at = BEGINNING + timedelta(microseconds=self.commits)
            self.now.log += [(xid, LogRow(*row, at)) for row in rows]
        self._note_losses(could, logged=not skipped)

    def _who_may(self) -> set[tuple[str, str]]:
        return {(p, u) for p in ROWS for u in USERS if self.may_see(p, u)}

    def _note_losses(self, could: set[tuple[str, str]], *, logged: bool) -> None:
        can = self._who_may()
        for pair in can:
            self.lost.pop(pair, None)
        if logged:
            self.lost |= dict.fromkeys(could - can, self.commits)

    def _apply(
        self, change: Change
    ) -> list[tuple[str | None, str | None, str, str | None, str]]:
        """Change the data, and say what the triggers log."""
        kind, project, of = change
        now = self.now
        if kind == "row":
            now.versions[of] = self.commits
            return [(project, None, "task", of, "UPDATE")]
        if kind in ("bulk", "truncate"):
            for row in ROWS[project] if kind == "bulk" else PROJECT_OF:
                now.versions[row] = self.commits
            reason = "bulk_change" if kind == "bulk" else "truncate"
            return [(project if kind == "bulk" else None, None, reason, None, "RECONNECT")]
        if kind == "owner":
            old, now.owners[project] = now.owners[project], of
            if old == of:
                return []
            return [
                (project, old, "project", project, "LOST"),
                (project, of, "project", project, "UPDATE"),
            ]
        id_ = f"{project}:{of}"
        if kind == "add":
            if (project, of) in now.members:
                return []
            now.members.add((project, of))
            return [(project, of, "project_members", id_, "INSERT")]
        if (project, of) not in now.members:
            return []
        now.members.remove((project, of))
        return [(project, of, "project_members", id_, "DELETE")]

    def hide(self) -> None:
        """Gateways can't ask it; or they can again."""
        self.is_down_for_gateways = not self.is_down_for_gateways

    def skip(self, *, is_disabled: bool) -> None:
        """Triggers skip the log: it is full, or ``disable`` was run."""
        self.now.is_skipping = True
        self.now.is_disabled |= is_disabled

    def log_again(self) -> None:
        """A leader that has seen that the log is full makes room in it; ``install``, which
        waits for who still writes, renews the log's identity.
        """
        if self.now.is_disabled:
            if not any(skipped for _, skipped in self.running.values()):
                self.now.incarnation += 1
                self.now.is_skipping = self.now.is_disabled = False
        elif self.now.has_skipped:
            self.now.is_skipping = False

    def crash(self) -> None:
        """The log is unlogged: a crash empties it."""
        self.restart()
        self.now.log.clear()
        self.now.incarnation += 1000

    def restart(self) -> None:
        self.running.clear()
        self.boot += 1
        self.lock = None

    def save(self) -> None:
        self.saved = deepcopy(self.now)

    def go_back(self, *, keeps_xids: bool) -> None:
        """An older copy of the data folder, or a dump restored in the same cluster."""
        if self.saved is None:
            return
        could, xid = self._who_may(), self.now.next_xid
        self.restart()
        self.now = deepcopy(self.saved)
        if keeps_xids:
            self.now.next_xid = xid
        self.commits += 1
        self._note_losses(could, logged=True)

    def snapshot(self) -> str:
        xmax = self.now.next_xid
        running = sorted(self.running)
        return f"{min(running, default=xmax)}:{xmax}:{','.join(map(str, running))}"

    def read(self, cursor: SnapshotCursor | None) -> Batch:
        identity = f"{ID}.1.{self.boot}.{self.now.incarnation}"
        rows = [
            row
            for xid, row in self.now.log
            if cursor is not None and not _has_seen(cursor.snapshot, xid)
        ]
        rows.sort(key=lambda row: row.at or BEGINNING)
        ahead = cursor is not None and _xmax(cursor.snapshot) > self.now.next_xid
        return Batch(
            SnapshotCursor(identity, self.snapshot()),
            cursor_ahead=ahead,
            rows=rows[: leader_state.MAX_ROWS_PER_READ + 1],
            oldest_age=0.0,
            is_skipping=self.now.is_skipping,
            has_skipped=self.now.has_skipped,
            oldest_xid=min(self.running, default=self.now.next_xid),
        )

    def take_barrier(self) -> int:
        self.now.next_xid += 1
        return self.now.next_xid - 1

    def prune(self, saved: SnapshotCursor) -> int:
        if saved.incarnation != str(self.now.incarnation):
            return 0
        log = list(enumerate(self.now.log))
        seen = [at for at, entry in log if _has_seen(saved.snapshot, entry[0])]
        gone = seen[:MAX_ROWS_PER_PRUNE]
        self.now.log = [entry for at, entry in log if at not in gone]
        return len(gone)

    def members(self, projects: Sequence[str]) -> Mapping[str, set[str]]:
        return {p: {u for u in USERS if self.may_see(p, u)} for p in projects}


def _xmax(snapshot: str) -> int:
    return int(snapshot.split(":")[1])


def _has_seen(snapshot: str, xid: int) -> bool:
    running = snapshot.split(":")[2].split(",")
    return xid < _xmax(snapshot) and str(xid) not in running


class Connection:
    """Plays ``ChangeLog`` and ``Membership`` for one listener, on one connection."""

    def __init__(self, database: Database, calls: Calls, owner: str) -> None:
        self._database = database
        self._calls = calls
        self._owner = owner
        self._boot = database.boot

    async def _ask(self, what: str, run: Callable[[], T]) -> T:
        def run_if_up() -> T:
            if self._database.boot != self._boot:
                raise PgLost("the server was restarted")
            return run()

        try:
            return await self._calls.make(self._owner, "postgres", what, run_if_up)
        except OSError as exc:
            raise PgLost(str(exc)) from exc

    async def read(self, cursor: SnapshotCursor | None) -> Batch:
        return await self._ask("read", lambda: self._database.read(cursor))

    async def prune(self, saved: SnapshotCursor) -> int:
        return await self._ask("prune", lambda: self._database.prune(saved))

    async def shrink(self) -> None:
        pass

    async def take_barrier(self) -> int:
        return await self._ask("barrier", self._database.take_barrier)

    async def wake_up_holders(self) -> frozenset[WakeUpHolder]:
        return frozenset()

    async def size(self) -> LogSize:
        return await self._ask("size", lambda: LogSize(0, 0, 0, 0.0))

    async def capture(self) -> CaptureState:
        return CaptureState()

    async def note_skipped(self, *, skipped: bool) -> None:
        def note() -> None:
            self._database.now.has_skipped = skipped

        await self._ask("note", note)

    async def raw_notify_seen(self) -> bool:
        return False

    async def of(self, projects: Sequence[str]) -> Mapping[str, set[str]]:
        if not projects:
            return {}
        return await self._ask("members", lambda: self._database.members(projects))

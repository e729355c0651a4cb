"""Recorded changes, and the times at which users had access to projects."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

# project, resource, id
RowKey: TypeAlias = tuple[str, str, str]
Pair: TypeAlias = tuple[str, str]


@dataclass(eq=False)
class Change:
    """A commit with its times. One that was never acknowledged may not have happened."""

    kind: str
    sent_at: float
    row_keys: list[RowKey]
    acked_at: float | None = None


@dataclass
class Absence:
    """An interval without access, at its ends rather too short than too long."""

    since: float
    until: float = math.inf


@dataclass
class Record:
    """Changes and access of one scenario, timed by the timeline's clock."""

    now: Callable[[], float]
    changes: list[Change] = field(default_factory=list)
    by_row: dict[RowKey, list[Change]] = field(default_factory=lambda: defaultdict(list))
    absences: dict[Pair, list[Absence]] = field(default_factory=lambda: defaultdict(list))
    access: set[Pair] = field(default_factory=set)
    access_changed_at: dict[Pair, float] = field(default_factory=dict)

    def sent(self, kind: str, row_keys: list[RowKey]) -> Change:
        """Record a commit that is about to be sent."""
        change = Change(kind, self.now(), row_keys)
        self.changes.append(change)
        for row_key in set(row_keys):
            self.by_row[row_key].append(change)
        return change

    def undone(self, change: Change) -> None:
        """Remove a change that the database has refused to commit."""
        self.changes.remove(change)
        for row_key in set(change.row_keys):
            self.by_row[row_key].remove(change)

    def saw_access(self, pairs: set[Pair], *, sent_at: float) -> None:
        """Record the pairs that have access after a change sent at *sent_at*."""
        for pair in self.access - pairs:
            self.absences[pair].append(Absence(self.now()))
        for pair in pairs - self.access:
            # a project that did not exist counts as an absence, too
            absences = self.absences[pair] or [Absence(0.0)]
            absences[-1].until = sent_at
            self.absences[pair] = absences
        for pair in pairs ^ self.access:
            self.access_changed_at[pair] = self.now()
        self.access = pairs

    def absence_at(self, pair: Pair, at: float) -> Absence | None:
        """Return the interval without access that contains *at*, or None."""
        if pair not in self.absences and pair not in self.access:
            return Absence(0.0)
        for absence in self.absences.get(pair, ()):
            if absence.since < at < absence.until:
                return absence
        return None

    def acknowledged_since(self, since: float) -> Iterator[Change]:
        """Return changes that were sent after *since* and acknowledged."""
        return (each for each in self.changes if each.acked_at and each.sent_at >= since)

"""What was written, and who had access from when to when."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

# project, resource, id
Place: TypeAlias = tuple[str, str, str]
Pair: TypeAlias = tuple[str, str]


@dataclass(eq=False)
class Change:
    """A commit: sent and acknowledged when. Never acknowledged: it may not have happened."""

    kind: str
    sent_at: float
    places: list[Place]
    acked_at: float | None = None


@dataclass
class Absence:
    """A stretch without access. At its ends it is short rather than long."""

    since: float
    until: float = math.inf


@dataclass
class Record:
    """Of one scenario; the clock is the time line's."""

    now: Callable[[], float]
    changes: list[Change] = field(default_factory=list)
    by_place: dict[Place, list[Change]] = field(default_factory=lambda: defaultdict(list))
    absences: dict[Pair, list[Absence]] = field(default_factory=lambda: defaultdict(list))
    access: set[Pair] = field(default_factory=set)
    access_changed_at: dict[Pair, float] = field(default_factory=dict)

    def sent(self, kind: str, places: list[Place]) -> Change:
        """A commit is being sent."""
        change = Change(kind, self.now(), places)
        self.changes.append(change)
        for place in set(places):
            self.by_place[place].append(change)
        return change

    def undone(self, change: Change) -> None:
        """The database said that it was not committed."""
        self.changes.remove(change)
        for place in set(change.places):
            self.by_place[place].remove(change)

    def saw_access(self, pairs: set[Pair], *, sent_at: float) -> None:
        """The pairs that have access, after a change that was *sent_at* then."""
        for pair in self.access - pairs:
            self.absences[pair].append(Absence(self.now()))
        for pair in pairs - self.access:
            # of a project that there was not it is an absence, too
            absences = self.absences[pair] or [Absence(0.0)]
            absences[-1].until = sent_at
            self.absences[pair] = absences
        for pair in pairs ^ self.access:
            self.access_changed_at[pair] = self.now()
        self.access = pairs

    def absence_at(self, pair: Pair, at: float) -> Absence | None:
        """The stretch without access that this moment is in."""
        if pair not in self.absences and pair not in self.access:
            return Absence(0.0)
        for absence in self.absences.get(pair, ()):
            if absence.since < at < absence.until:
                return absence
        return None

    def acknowledged_since(self, since: float) -> Iterator[Change]:
        """Changes that were certainly made, and not before."""
        return (each for each in self.changes if each.acked_at and each.sent_at >= since)

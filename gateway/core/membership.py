"""Who may hear: what was answered, and what a change makes doubtful.

A *pair* is a project and a user. Yes is remembered for a short while, no never. A ``recheck``
makes pairs doubtful: what was remembered of them is dropped, and an answer to a question that
was sent before it counts for nothing: it is asked again.
"""

from collections.abc import Set
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from shared.core.protocol import Recheck

Pair: TypeAlias = tuple[str, str]

REMEMBERED_SECONDS: Final = 5.0
MAX_PAIRS_PER_QUERY: Final = 1000


def is_concerned(pair: Pair, recheck: Recheck) -> bool:
    return recheck.project_id in (None, pair[0]) and recheck.user_id in (None, pair[1])


@dataclass(eq=False, slots=True)
class Question:
    """Pairs that are asked in one query, and those of them that became doubtful since."""

    pairs: Set[Pair]
    doubtful: set[Pair] = field(default_factory=set)


class Membership:
    """What is known of who may hear. Times are of one monotonic clock, in seconds."""

    def __init__(self) -> None:
        self._known: dict[Pair, float] = {}  # until when; the oldest first
        self._wanted: dict[Pair, None] = {}
        self._asked: set[Question] = set()

    @property
    def is_wanted(self) -> bool:
        return bool(self._wanted)

    def is_known(self, pair: Pair, now: float) -> bool:
        """Whether the answer was yes a short while ago, and nothing happened since."""
        return self._known.get(pair, now) > now

    def want(self, pair: Pair) -> None:
        """Ask for it in the next query; one that was sent may be older than the reason."""
        self._wanted[pair] = None

    def ask(self) -> Question:
        """What to ask now."""
        pairs = list(self._wanted)[:MAX_PAIRS_PER_QUERY]
        for pair in pairs:
            del self._wanted[pair]
        question = Question(frozenset(pairs))
        self._asked.add(question)
        return question

    def answered(self, question: Question, yes: Set[Pair], now: float) -> dict[Pair, bool]:
        """The answers that count; what became doubtful meanwhile is wanted again."""
        self._asked.remove(question)
        for pair in question.doubtful:
            self.want(pair)
        self._forget_old(now)
        answers = {pair: pair in yes for pair in question.pairs - question.doubtful}
        for pair, allowed in answers.items():
            self._known.pop(pair, None)
            if allowed:
                self._known[pair] = now + REMEMBERED_SECONDS
        return answers

    def failed(self, question: Question) -> None:
        """It could not be asked."""
        self._asked.remove(question)

    def doubt(self, recheck: Recheck) -> None:
        """Something changed: nothing that is known or asked of these pairs counts any more."""
        if recheck.project_id is not None and recheck.user_id is not None:
            self._known.pop((recheck.project_id, recheck.user_id), None)
        else:
            for pair in [pair for pair in self._known if is_concerned(pair, recheck)]:
                del self._known[pair]
        for question in self._asked:
            question.doubtful |= {p for p in question.pairs if is_concerned(p, recheck)}

    def _forget_old(self, now: float) -> None:
        for pair, until in list(self._known.items()):
            if until > now:
                break
            del self._known[pair]

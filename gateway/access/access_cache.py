"""Who may hear: what was answered, and what a change makes doubtful.

A *pair* is a project and a user. Yes is remembered for a short while, no never. A ``recheck``
makes pairs doubtful: what was remembered of them is dropped, and an answer to a question that
was sent before it counts for nothing: it is asked again. A project whose own row changes all
the time would so never be answered: after a while an answer that is fresh counts even so, but
is not remembered.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from itertools import islice, takewhile
from typing import Final

from gateway.access.pairs import Pair, PairMap
from shared.protocol.control_messages import Recheck

REMEMBERED_SECONDS: Final = 5.0
MAX_PAIRS_PER_QUERY: Final = 1000
STARVING_SECONDS: Final = 1.0
EXPIRED_SECONDS: Final = 5.0
FRESH_SECONDS: Final = 2.0  # since it was asked; nobody may hear for over 3 s after a loss


@dataclass(eq=False, slots=True)
class AccessQuery:
    """Pairs that are asked in one query, each with the time since when it is wanted.

    ``doubtful`` are those that became so since it was sent: whether the user was named.
    """

    pairs: Mapping[Pair, float]
    asked_at: float
    doubtful: dict[Pair, bool] = field(default_factory=dict)


class AccessCache:
    """What is known of who may hear. Times are of one monotonic clock, in seconds."""

    def __init__(self) -> None:
        self._known: PairMap[float] = PairMap()  # until when
        self._wanted: dict[Pair, float] = {}  # since when
        self._asked: PairMap[list[AccessQuery]] = PairMap()

    @property
    def is_wanted(self) -> bool:
        return bool(self._wanted)

    def allows(self, pair: Pair, now: float) -> bool:
        """Whether the answer was yes a short while ago, and nothing happened since."""
        until = self._known.get(pair)
        return until is not None and until > now

    def want(self, pair: Pair, since: float) -> None:
        """Ask for it in the next query; one that was sent may be older than the reason."""
        self._wanted[pair] = min(since, self._wanted.get(pair, since))

    def ask(self, now: float) -> AccessQuery:
        """What to ask now."""
        pairs = list(islice(self._wanted, MAX_PAIRS_PER_QUERY))
        question = AccessQuery({pair: self._wanted.pop(pair) for pair in pairs}, now)
        self._note(question)
        return question

    def _note(self, question: AccessQuery) -> None:
        for pair in question.pairs:
            self._asked.put(pair, [*(self._asked.get(pair) or ()), question])

    def answered(
        self, question: AccessQuery, yes: Set[Pair], now: float
    ) -> dict[Pair, bool | None]:
        """The answers that count; what became doubtful meanwhile is wanted again.

        None: it has been wanted for so long that nobody should wait any more.
        """
        self._settle(question)
        self._forget_old(now)
        answers: dict[Pair, bool | None] = {}
        for pair, since in question.pairs.items():
            allowed: bool | None = pair in yes
            if pair not in question.doubtful:
                self._known.pop(pair)
                if allowed:
                    self._known.put(pair, now + REMEMBERED_SECONDS)
            elif not _counts_even_so(question, pair, now, allowed=pair in yes):
                if now - since < EXPIRED_SECONDS:
                    self.want(pair, since)
                    continue
                allowed = None
            answers[pair] = allowed
        return answers

    def failed(self, question: AccessQuery) -> None:
        """It could not be asked."""
        self._settle(question)

    def split(self, question: AccessQuery, size: int) -> list[AccessQuery]:
        """The same question in pieces of so many pairs, each to be answered by itself."""
        self._settle(question)
        pairs = list(question.pairs.items())
        pieces = [
            AccessQuery(
                dict(part := pairs[start : start + size]),
                question.asked_at,
                {
                    pair: question.doubtful[pair]
                    for pair, _ in part
                    if pair in question.doubtful
                },
            )
            for start in range(0, len(pairs), size)
        ]
        for piece in pieces:
            self._note(piece)
        return pieces

    def invalidate(self, recheck: Recheck) -> None:
        """Something changed: nothing that is known or asked of these pairs counts any more."""
        for pair in self._known.matching(recheck):
            self._known.pop(pair)
        is_named = recheck.user_id is not None
        for pair in self._asked.matching(recheck):
            for question in self._asked.get(pair) or ():
                question.doubtful[pair] = is_named or question.doubtful.get(pair, False)

    def _settle(self, question: AccessQuery) -> None:
        for pair in question.pairs:
            others = [one for one in self._asked.pop(pair) or () if one is not question]
            if others:
                self._asked.put(pair, others)

    def _forget_old(self, now: float) -> None:
        old = list(takewhile(lambda pair: not self.allows(pair, now), self._known))
        for pair in old:
            self._known.pop(pair)


def _counts_even_so(question: AccessQuery, pair: Pair, now: float, *, allowed: bool) -> bool:
    """Whether an answer that doubts have overtaken counts, lest the user hear nothing at all.

    A no does not where the user was named meanwhile: they may just have been let in.
    """
    is_starving = now - question.pairs[pair] > STARVING_SECONDS
    is_fresh = now - question.asked_at < FRESH_SECONDS
    return is_starving and is_fresh and (allowed or not question.doubtful[pair])

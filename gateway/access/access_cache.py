"""Cached answers to access checks, and which answers a recheck makes worthless.

A *pair* is a project and a user. Positive answers are cached for ``CACHED_SECONDS``, negative
answers never. A recheck drops the cached answers of the pairs that it concerns. It also
*overtakes* the queries in flight that contain them: an answer to a query that was sent before
the recheck may be outdated, so the pair is asked for again. A project whose own row changes all
the time would never be answered that way: after ``STARVING_SECONDS`` an overtaken answer counts
if it is fresh, but it is not cached.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from itertools import islice, takewhile
from typing import Final

from gateway.access.pairs import Pair, PairMap
from shared.protocol.control_messages import Recheck

CACHED_SECONDS: Final = 5.0
MAX_PAIRS_PER_QUERY: Final = 1000
STARVING_SECONDS: Final = 1.0  # since the pair was requested
EXPIRED_SECONDS: Final = 5.0  # since the pair was requested
FRESH_SECONDS: Final = 2.0  # since the query was sent; delivery ends at most 3 s after a loss


@dataclass(eq=False, slots=True)
class AccessQuery:
    """The pairs of one query, each with the time at which it was first requested.

    ``overtaken`` are the pairs that a recheck has concerned since the query was sent, and
    whether a recheck named their user.
    """

    pairs: Mapping[Pair, float]
    sent_at: float
    overtaken: dict[Pair, bool] = field(default_factory=dict)


class AccessCache:
    """Cached answers, pairs to ask for, and queries in flight.

    Times are of one monotonic clock, in seconds.
    """

    def __init__(self) -> None:
        self._allowed_until: PairMap[float] = PairMap()
        self._requested: dict[Pair, float] = {}  # since when
        self._in_flight: PairMap[list[AccessQuery]] = PairMap()

    @property
    def has_requests(self) -> bool:
        return bool(self._requested)

    def allows(self, pair: Pair, now: float) -> bool:
        """Return whether a positive answer is cached."""
        until = self._allowed_until.get(pair)
        return until is not None and until > now

    def request(self, pair: Pair, since: float) -> None:
        """Put the pair into the next query: one in flight may be older than the request."""
        self._requested[pair] = min(since, self._requested.get(pair, since))

    def next_query(self, now: float) -> AccessQuery:
        """Return the query to send now."""
        pairs = list(islice(self._requested, MAX_PAIRS_PER_QUERY))
        query = AccessQuery({pair: self._requested.pop(pair) for pair in pairs}, now)
        self._add(query)
        return query

    def _add(self, query: AccessQuery) -> None:
        for pair in query.pairs:
            self._in_flight.put(pair, [*(self._in_flight.get(pair) or ()), query])

    def answered(
        self, query: AccessQuery, yes: Set[Pair], now: float
    ) -> dict[Pair, bool | None]:
        """Return the answers that count; the other pairs are requested again.

        None: the pair was requested over ``EXPIRED_SECONDS`` ago, and no answer has counted.
        """
        self._remove(query)
        self._drop_expired(now)
        answers: dict[Pair, bool | None] = {}
        for pair, since in query.pairs.items():
            allowed: bool | None = pair in yes
            if pair not in query.overtaken:
                self._allowed_until.pop(pair)
                if allowed:
                    self._allowed_until.put(pair, now + CACHED_SECONDS)
            elif not _counts_though_overtaken(query, pair, now, allowed=pair in yes):
                if now - since < EXPIRED_SECONDS:
                    self.request(pair, since)
                    continue
                allowed = None
            answers[pair] = allowed
        return answers

    def failed(self, query: AccessQuery) -> None:
        """Forget a query that got no answer."""
        self._remove(query)

    def split(self, query: AccessQuery, size: int) -> list[AccessQuery]:
        """Replace the query by queries for at most *size* pairs each."""
        self._remove(query)
        pairs = list(query.pairs.items())
        pieces = [
            AccessQuery(
                dict(part := pairs[start : start + size]),
                query.sent_at,
                {pair: query.overtaken[pair] for pair, _ in part if pair in query.overtaken},
            )
            for start in range(0, len(pairs), size)
        ]
        for piece in pieces:
            self._add(piece)
        return pieces

    def invalidate(self, recheck: Recheck) -> None:
        """Drop the cached answers that the recheck concerns, and overtake queries in flight."""
        for pair in self._allowed_until.matching(recheck):
            self._allowed_until.pop(pair)
        is_named = recheck.user_id is not None
        for pair in self._in_flight.matching(recheck):
            for query in self._in_flight.get(pair) or ():
                query.overtaken[pair] = is_named or query.overtaken.get(pair, False)

    def _remove(self, query: AccessQuery) -> None:
        for pair in query.pairs:
            others = [one for one in self._in_flight.pop(pair) or () if one is not query]
            if others:
                self._in_flight.put(pair, others)

    def _drop_expired(self, now: float) -> None:
        # oldest first, and all are cached for the same time
        old = list(takewhile(lambda pair: not self.allows(pair, now), self._allowed_until))
        for pair in old:
            self._allowed_until.pop(pair)


def _counts_though_overtaken(
    query: AccessQuery, pair: Pair, now: float, *, allowed: bool
) -> bool:
    """Return whether an overtaken answer counts, so that the pair is not left without any.

    A no does not count if a recheck named the user: they may just have been given access.
    """
    is_starving = now - query.pairs[pair] > STARVING_SECONDS
    is_fresh = now - query.sent_at < FRESH_SECONDS
    return is_starving and is_fresh and (allowed or not query.overtaken[pair])

"""Check access: many requests at once are answered by one query."""

import asyncio
import logging
from collections import deque
from collections.abc import Set
from typing import Final

from prometheus_client import CollectorRegistry

from gateway.access.access_cache import AccessCache, AccessQuery
from gateway.access.database import (
    TIMEOUT_SECONDS,
    AccessDatabase,
    DatabaseUnavailable,
    Pool,
    QueryFailed,
)
from gateway.access.pairs import Pair
from shared.config.access_rules import AccessRules
from shared.protocol.control_messages import Recheck
from shared.runtime.log_throttle import LogThrottle

QUERY_SECONDS: Final = 2.0  # for a query of all requested pairs
PIECE_SECONDS: Final = 0.5  # for a query of some of them, after that one failed
SLOW_SECONDS: Final = 10.0
REST_SECONDS: Final = 0.01
REST_SECONDS_PER_PAIR: Final = 0.0005
_PIECES: Final = 8
_ENDED: Final = "the gateway is shutting down"
_OVERTAKEN: Final = "access changes faster than it can be checked"
_SLOW: Final = "the query takes too long for this project and user"

log = logging.getLogger(__name__)


class AccessUnavailable(Exception):
    """Access could not be checked."""


class AccessChecker:
    """Answers whether a user has access to a project, from the cache or the database.

    One query runs at a time: pairs that are requested meanwhile, or shortly after a query of
    many pairs, are in the next.
    """

    def __init__(
        self,
        pool: Pool,
        rules: AccessRules,
        registry: CollectorRegistry,
        *,
        search_path: str = "",
    ) -> None:
        self._database = AccessDatabase(pool, rules, registry, search_path)
        self._cache = AccessCache()
        self._waiting: dict[Pair, list[asyncio.Future[bool]]] = {}
        self._requested = asyncio.Event()
        self._slow_until: dict[Pair, float] = {}
        self._must_reconnect = False
        self._log_throttle = LogThrottle()
        self.is_available = True  # whether the database answered the last query
        self.has_ended = False

    def has_cached_access(self, pair: Pair) -> bool:
        """Return whether a positive answer is cached."""
        return self._cache.allows(pair, asyncio.get_running_loop().time())

    def invalidate(self, recheck: Recheck) -> None:
        """Drop cached answers, and answers to queries in flight, that the recheck concerns."""
        self._cache.invalidate(recheck)
        # A recheck of everything also follows a failover of the database, which connections
        # to the old server may not notice.
        self._must_reconnect |= recheck.project_id is None and recheck.user_id is None

    async def learn_database(self) -> None:
        """Identify the database that is queried here, if it is available.

        On a new connection: another database may have replaced it behind DATABASE_URL.
        """
        self._must_reconnect = False
        await self._database.learn_id()

    def knows_database(self) -> bool:
        """Return whether the database is identified, so that ``is_foreign`` can compare it."""
        return bool(self._database.id)

    def is_foreign(self, database: str) -> bool:
        """Return whether *database* is known to be another one than is queried here."""
        return "" not in (database, self._database.id) and database != self._database.id

    async def has_access(self, pair: Pair) -> bool:
        """Return whether the user may see the project; both ids are canonical.

        Raises:
            AccessUnavailable: the database is unavailable or refused the query.
        """
        return self.has_cached_access(pair) or await self.check(pair)

    async def check(self, pair: Pair) -> bool:
        """Do the same without the cache. Raises ``AccessUnavailable``."""
        if self.has_ended:
            raise AccessUnavailable(_ENDED)
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(pair, []).append(answer)
        self._cache.request(pair, asyncio.get_running_loop().time())
        self._requested.set()
        return await answer

    async def verify(self) -> None:
        """Run the query for no pairs, so that errors in it are logged at the start."""
        try:
            await self._database.find_allowed((), QUERY_SECONDS)
        except (DatabaseUnavailable, QueryFailed) as exc:
            self._warn(str(exc))

    async def run(self) -> None:
        """Send the queries. Never returns; when cancelled, fail all checks that still wait."""
        try:
            while True:
                await self._requested.wait()
                while self._cache.has_requests:
                    pair_count = len(self._waiting)
                    await self._query()
                    # so that more of many clients that connect at once share the next query
                    await asyncio.sleep(min(REST_SECONDS, pair_count * REST_SECONDS_PER_PAIR))
                self._requested.clear()
        finally:
            self.has_ended = True
            for pair in list(self._waiting):
                self._fail_checks(pair, _ENDED)

    async def _query(self) -> None:
        """Query all requested pairs, in ever smaller pieces where the query fails.

        The pieces of a query that failed come after all others. A pair for which the query
        times out, while it answers for others, is not queried for ``SLOW_SECONDS``: it delays
        the others once.
        """
        if self._must_reconnect:
            await self._reconnect()
        loop = asyncio.get_running_loop()
        pieces = deque(self._without_slow(self._cache.next_query(loop.time())))
        seconds = QUERY_SECONDS
        deadline = loop.time() + TIMEOUT_SECONDS
        slow: list[Pair] = []
        has_answered = False
        while pieces:
            query = pieces.popleft()
            if loop.time() >= deadline:
                self._failed(query, "the database did not answer in time")
                continue
            try:
                yes = await self._database.find_allowed(query.pairs, seconds)
            except QueryFailed as exc:
                seconds = PIECE_SECONDS
                if len(query.pairs) > 1:
                    size = -(-len(query.pairs) // _PIECES)
                    pieces += self._cache.split(query, size)
                    continue
                if exc.is_timeout:
                    slow += query.pairs
                self._failed(query, str(exc))
            except DatabaseUnavailable as exc:
                self.is_available = False
                await self._reconnect()
                self._failed(query, str(exc))
            else:
                has_answered = self.is_available = True
                self._answered(query, yes)
        if has_answered:
            self._slow_until |= dict.fromkeys(slow, loop.time() + SLOW_SECONDS)

    async def _reconnect(self) -> None:
        self._must_reconnect = False
        await self._database.renew_connections()

    def _without_slow(self, query: AccessQuery) -> list[AccessQuery]:
        """Return the query without the pairs that timed out recently: their checks fail."""
        now = asyncio.get_running_loop().time()
        self._slow_until = {pair: end for pair, end in self._slow_until.items() if end > now}
        if self._slow_until.keys().isdisjoint(query.pairs):
            return [query]
        others = []
        for single in self._cache.split(query, 1):
            if next(iter(single.pairs)) in self._slow_until:
                self._failed(single, _SLOW)
            else:
                others.append(single)
        return others

    def _answered(self, query: AccessQuery, yes: Set[Pair]) -> None:
        now = asyncio.get_running_loop().time()
        for pair, allowed in self._cache.answered(query, yes, now).items():
            if allowed is None:
                self._fail_checks(pair, _OVERTAKEN)
                continue
            for waiting in self._waiting.pop(pair, ()):
                if not waiting.done():
                    waiting.set_result(allowed)

    def _failed(self, query: AccessQuery, reason: str) -> None:
        self._cache.failed(query)
        for pair in query.pairs:
            self._fail_checks(pair, reason)
        self._warn(reason)

    def _fail_checks(self, pair: Pair, reason: str) -> None:
        for waiting in self._waiting.pop(pair, ()):
            if not waiting.done():
                waiting.set_exception(AccessUnavailable(reason))

    def _warn(self, reason: str) -> None:
        count = self._log_throttle.count(asyncio.get_running_loop().time())
        if count:
            log.warning("access queries failed", extra={"count": count, "reason": reason[:300]})

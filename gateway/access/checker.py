"""Asks the database who may hear of a project: many questions at once, as one query."""

import asyncio
import logging
from collections import deque
from collections.abc import Collection, Set
from contextlib import suppress
from math import inf
from typing import Final, TypeAlias

import asyncpg
from prometheus_client import CollectorRegistry, Counter

from gateway.access.access_cache import AccessCache, AccessQuery
from gateway.access.database import TIMEOUT_SECONDS, Pool
from gateway.access.pairs import Pair
from shared.config.access_rules import AccessRules, bounded_sql, name_pairs
from shared.links.database_id import DATABASE_ID_SQL
from shared.links.search_path import OWN_SCHEMAS_SQL, safe_search_path
from shared.protocol.control_messages import Recheck
from shared.runtime.log_throttle import LogThrottle

PoolConnectionProxy: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
BATCH_SECONDS: Final = 2.0  # of a query of all that is wanted
PIECE_SECONDS: Final = 0.5  # of one that looks for what is slow
SLOW_SECONDS: Final = 10.0
PATH_SECONDS: Final = 10.0
MAX_ROWS: Final = 10_000
_PIECES: Final = 8
_UNANSWERED: Final = (
    OSError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    # a pooled session that the server has told its end, and whose closing has not come yet
    asyncpg.InternalClientError,
)
# A migration has replaced what the session or the driver remembered. Both have forgotten it by
# now, so the question can be asked once more.
_OUTDATED: Final = (
    asyncpg.InvalidCachedStatementError,
    asyncpg.OutdatedSchemaCacheError,
    asyncpg.InternalServerError,  # "cache lookup failed for ..."
)
_SET_PATH: Final = "select pg_catalog.set_config('search_path', $1, true)"
_ENDED: Final = "the gateway is shutting down"
_OVERTAKEN: Final = "access changes faster than it can be asked"
_SLOW: Final = "the query takes too long for this project and user"


class _TooManyRows(Exception):
    """The query returns much more than it was asked for."""


# what one pair may cause, and the others need not suffer for
_OF_SOME_PAIRS: Final = (
    asyncpg.DataError,
    asyncpg.CardinalityViolationError,
    asyncpg.PLPGSQLError,
    asyncpg.ProgramLimitExceededError,
    asyncpg.QueryCanceledError,
    ValueError,  # text that the driver can't decode
    _TooManyRows,
)

log = logging.getLogger(__name__)


class AccessUnavailable(Exception):
    """The database could not be asked."""


class AccessChecker:
    """The ``[access] query`` of ``invalidation.toml``, asked of the primary.

    One query at a time: what is wanted while it runs is in the next.
    """

    def __init__(
        self,
        pool: Pool,
        rules: AccessRules,
        registry: CollectorRegistry,
        *,
        search_path: str = "",
    ) -> None:
        self._pool = pool
        self._rules = rules
        self._own_path = search_path  # instead of the one that the role has
        self._sql = bounded_sql(rules.query, MAX_ROWS + 1)
        self._search_path = ""
        self._path_until = -inf  # a migration may make or drop a schema of it
        self._database = ""  # which one was asked last, if it tells
        self._is_doubtful = False
        self.is_available = True  # the last query
        self._slow: dict[Pair, float] = {}  # until when they are not asked
        self._pace = LogThrottle()
        self._membership = AccessCache()
        self.has_ended = False
        self._waiting: dict[Pair, list[asyncio.Future[bool]]] = {}
        self._wanted = asyncio.Event()
        self._queries = Counter(
            "neverstale_access_queries_total", "Access queries sent", registry=registry
        )
        self._pairs = Counter(
            "neverstale_access_pairs_total", "Projects and users asked for", registry=registry
        )

    def has_cached_access(self, pair: Pair) -> bool:
        """Whether the answer was yes a moment ago, and nothing happened since."""
        return self._membership.allows(pair, asyncio.get_running_loop().time())

    def invalidate(self, recheck: Recheck) -> None:
        """Whatever was answered, or is being asked, may not be so any more."""
        self._membership.invalidate(recheck)
        # all of it: after a failover of the database, too, which old connections may not notice
        self._is_doubtful |= recheck.project_id is None and recheck.user_id is None

    async def learn_database(self) -> None:
        """Find out which database is asked here, if it can be told now.

        On a new connection: another one may have taken its place behind DATABASE_URL.
        """
        await self._connect_anew()
        with suppress(*_UNANSWERED):
            async with asyncio.timeout(TIMEOUT_SECONDS), self._pool.acquire() as connection:
                self._database = await _database_of(connection)

    def knows_database(self) -> bool:
        """Whether ``is_foreign`` can tell."""
        return bool(self._database)

    def is_foreign(self, database: str) -> bool:
        """Whether that is known to be another database than the one that is asked here."""
        return "" not in (database, self._database) and database != self._database

    async def has_access(self, pair: Pair) -> bool:
        """Whether the user may hear of the project; both ids canonical.

        Raises:
            AccessUnavailable: the database is away or refused the query.
        """
        return self.has_cached_access(pair) or await self.check(pair)

    async def check(self, pair: Pair) -> bool:
        """The same, asked anew. Raises ``AccessUnavailable``."""
        if self.has_ended:
            raise AccessUnavailable(_ENDED)
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(pair, []).append(answer)
        self._membership.want(pair, asyncio.get_running_loop().time())
        self._wanted.set()
        return await answer

    async def verify(self) -> None:
        """Run the query for no pairs, so that errors in it are logged at the start."""
        try:
            await self._allowed((), BATCH_SECONDS)
        except (*_UNANSWERED, *_OF_SOME_PAIRS) as exc:
            self._warn(f"{type(exc).__name__}: {exc}")

    async def run(self) -> None:
        """Send the queries. Never returns; when it is cancelled, nobody is left waiting."""
        try:
            while True:
                await self._wanted.wait()
                while self._membership.is_wanted:
                    await self._query()
                self._wanted.clear()
        finally:
            self.has_ended = True
            for pair in list(self._waiting):
                self._fail(pair, _ENDED)

    def _fail(self, pair: Pair, reason: str) -> None:
        for waiting in self._waiting.pop(pair, ()):
            if not waiting.done():
                waiting.set_exception(AccessUnavailable(reason))

    async def _query(self) -> None:
        """Ask for all that is wanted, in ever smaller pieces where the query fails.

        Pieces that failed wait for all others. A pair that took too long where others did not
        is not asked for again for a while, so that it holds them up once.
        """
        if self._is_doubtful:
            await self._connect_anew()
        loop = asyncio.get_running_loop()
        pieces = deque(self._without_slow(self._membership.ask(loop.time())))
        seconds = BATCH_SECONDS
        deadline = loop.time() + TIMEOUT_SECONDS
        slow: list[Pair] = []
        has_answered = False
        while pieces:
            question = pieces.popleft()
            if loop.time() >= deadline:
                self._failed(question, "the database did not answer in time")
                continue
            try:
                yes = await self._allowed(question.pairs, seconds)
            except _OF_SOME_PAIRS as exc:
                seconds = PIECE_SECONDS
                if len(question.pairs) > 1:
                    size = -(-len(question.pairs) // _PIECES)
                    pieces += self._membership.split(question, size)
                    continue
                if isinstance(exc, asyncpg.QueryCanceledError):
                    slow += question.pairs
                self._failed(question, f"{type(exc).__name__}: {exc}")
            except _UNANSWERED as exc:
                self.is_available = False
                await self._connect_anew()
                self._failed(question, f"{type(exc).__name__}: {exc}")
            else:
                has_answered = self.is_available = True
                self._answered(question, yes)
        if has_answered:
            self._slow |= dict.fromkeys(slow, loop.time() + SLOW_SECONDS)

    async def _connect_anew(self) -> None:
        """Ask on new connections: DATABASE_URL may lead to another server by now."""
        self._is_doubtful = False
        self._path_until = -inf
        await self._pool.expire_connections()

    def _without_slow(self, question: AccessQuery) -> list[AccessQuery]:
        """The question without the pairs that took too long a moment ago: they are refused."""
        now = asyncio.get_running_loop().time()
        self._slow = {pair: until for pair, until in self._slow.items() if until > now}
        if self._slow.keys().isdisjoint(question.pairs):
            return [question]
        others = []
        for single in self._membership.split(question, 1):
            if next(iter(single.pairs)) in self._slow:
                self._failed(single, _SLOW)
            else:
                others.append(single)
        return others

    def _answered(self, question: AccessQuery, yes: Set[Pair]) -> None:
        now = asyncio.get_running_loop().time()
        for pair, allowed in self._membership.answered(question, yes, now).items():
            if allowed is None:
                self._fail(pair, _OVERTAKEN)
                continue
            for waiting in self._waiting.pop(pair, ()):
                if not waiting.done():
                    waiting.set_result(allowed)

    def _failed(self, question: AccessQuery, reason: str) -> None:
        self._membership.failed(question)
        for pair in question.pairs:
            self._fail(pair, reason)
        self._warn(reason)

    def _warn(self, reason: str) -> None:
        count = self._pace.count(asyncio.get_running_loop().time())
        if count:
            log.warning("access queries failed", extra={"count": count, "reason": reason[:300]})

    async def _allowed(self, pairs: Collection[Pair], seconds: float) -> set[Pair]:
        """Return the pairs that have access. Raises what the driver does."""
        try:
            return await self._ask_database(pairs, seconds)
        except _OUTDATED:
            return await self._ask_database(pairs, seconds)

    async def _ask_database(self, pairs: Collection[Pair], seconds: float) -> set[Pair]:
        """The same, as the session remembers tables and types.

        In one transaction, so that the settings hold behind a pooler too. Where row-level
        security would leave rows out, PostgreSQL refuses the query.
        """
        self._queries.inc()
        self._pairs.inc(len(pairs))
        projects, users = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        async with self._pool.acquire() as connection:
            now = asyncio.get_running_loop().time()
            if now >= self._path_until:
                self._search_path = await self._find_path(connection)
                self._path_until = now + PATH_SECONDS
                self._database = await _database_of(connection)
            # a standby refuses the first statement: its answers may be old
            await connection.execute(
                "begin read write; set transaction read only;"
                f" set local search_path = {self._search_path};"
                f" set local statement_timeout = {round(seconds * 1000)};"
                " set local row_security = off"
            )
            try:
                rows = await connection.fetch(self._sql, projects, users)
            except (asyncpg.PostgresError, ValueError):
                await connection.execute("rollback")
                raise
            await connection.execute("commit")
        if len(rows) > MAX_ROWS:
            raise _TooManyRows(
                f"the query returned over {MAX_ROWS} rows: it must return pairs asked for"
            )
        return set(name_pairs(((row[0], row[1]) for row in rows), self._rules))

    async def _find_path(self, connection: PoolConnectionProxy) -> str:
        async with connection.transaction(readonly=True):
            if self._own_path:
                await connection.execute(_SET_PATH, self._own_path)
            return safe_search_path(await connection.fetchval(OWN_SCHEMAS_SQL))


async def _database_of(connection: PoolConnectionProxy) -> str:
    try:
        return str(await connection.fetchval(DATABASE_ID_SQL))
    except asyncpg.InsufficientPrivilegeError:
        return ""  # somebody has revoked the right to ask for it

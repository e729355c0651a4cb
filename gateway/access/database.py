"""The database side of access checks: the pool, the session's settings, and the query."""

import asyncio
import time
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress
from math import inf
from typing import Any, Final, TypeAlias

import asyncpg
from prometheus_client import CollectorRegistry, Counter

from gateway.access.pairs import Pair
from shared.config.access_rules import AccessRules, bounded_sql, name_pairs
from shared.links.database_id import DATABASE_ID_SQL
from shared.links.postgres import connect_any, connect_arguments
from shared.links.search_path import OWN_SCHEMAS_SQL, safe_search_path
from shared.runtime.durations import DurationHistogram

Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
PoolConnectionProxy: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
TIMEOUT_SECONDS: Final = 5.0
_CLOSE_SECONDS: Final = 1.0
SEARCH_PATH_SECONDS: Final = 10.0  # a migration may create or drop a schema on the search path
MAX_ROWS: Final = 10_000
_UNAVAILABLE: Final = (
    OSError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    # a pooled session that the server has ended, and that asyncpg has not seen closed yet
    asyncpg.InternalClientError,
)
# A migration invalidated what the session or the driver had cached. Both have dropped it by
# then, so the query is sent once more.
_OUTDATED: Final = (
    asyncpg.InvalidCachedStatementError,
    asyncpg.OutdatedSchemaCacheError,
    asyncpg.InternalServerError,  # "cache lookup failed for ..."
)
_SET_PATH: Final = "select pg_catalog.set_config('search_path', $1, true)"


class _TooManyRows(Exception):
    """The query returned more than ``MAX_ROWS`` rows."""


# Errors that a single pair can cause.
_PAIR_ERRORS: Final = (
    asyncpg.DataError,
    asyncpg.CardinalityViolationError,
    asyncpg.PLPGSQLError,
    asyncpg.ProgramLimitExceededError,
    asyncpg.QueryCanceledError,
    ValueError,  # text that the driver can't decode
    _TooManyRows,
)


class DatabaseUnavailable(Exception):
    """The query could not be run at all."""


class QueryFailed(Exception):
    """The query failed, perhaps because of some of its pairs only."""

    def __init__(self, reason: str, *, is_timeout: bool) -> None:
        super().__init__(reason)
        self.is_timeout = is_timeout


@asynccontextmanager
async def open_pool(url: str) -> AsyncIterator[Pool]:
    """Open a pool that connects on first use: the database may be unavailable at start."""
    options: dict[str, Any] = connect_arguments(url, "neverstale gateway", may_be_pooled=True)
    pool = await asyncpg.create_pool(
        **options | {"connect": connect_any},
        min_size=0,
        max_size=2,
        timeout=TIMEOUT_SECONDS,
        command_timeout=TIMEOUT_SECONDS,
    )
    try:
        yield pool
    finally:
        # Connections in use are released by tasks of asyncpg, also for callers that were
        # cancelled: those would fail, unseen.
        with suppress(*_UNAVAILABLE):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await pool.close()
        pool.terminate()


class AccessDatabase:
    """The ``[access] query`` of ``invalidation.toml``, run on the primary."""

    def __init__(
        self, pool: Pool, rules: AccessRules, registry: CollectorRegistry, search_path: str
    ) -> None:
        self._pool = pool
        self._rules = rules
        self._url_path = search_path  # replaces the role's search_path, unless it is empty
        self._sql = bounded_sql(rules.query, MAX_ROWS + 1)
        self._search_path = ""
        self._search_path_until = -inf
        self.id = ""  # of the database that was queried last; empty: not known
        self._queries = Counter(
            "neverstale_access_queries_total", "Access queries sent", registry=registry
        )
        self._failures = Counter(
            "neverstale_access_failures_total", "Access queries that failed", registry=registry
        )
        self._seconds = DurationHistogram(
            "neverstale_access_query_seconds",
            "Access queries, from the wait for a connection to their answer or failure",
            registry,
        )
        self._pairs = Counter(
            "neverstale_access_pairs_total",
            "Pairs of a project and a user in access queries",
            registry=registry,
        )

    async def renew_connections(self) -> None:
        """Use new connections from now on: DATABASE_URL may now resolve to another server."""
        self._search_path_until = -inf
        await self._pool.expire_connections()

    async def learn_id(self) -> None:
        """Read the database's id, if it is available, on a new connection."""
        await self.renew_connections()
        with suppress(*_UNAVAILABLE):
            async with asyncio.timeout(TIMEOUT_SECONDS), self._pool.acquire() as connection:
                self.id = await _read_id(connection)

    async def find_allowed(self, pairs: Collection[Pair], seconds: float) -> set[Pair]:
        """Return those of the pairs that have access; PostgreSQL cancels after *seconds*.

        Raises ``DatabaseUnavailable`` or ``QueryFailed``.
        """
        begun = time.perf_counter()
        try:
            try:
                return await self._query(pairs, seconds)
            except _OUTDATED:
                return await self._query(pairs, seconds)
        except _PAIR_ERRORS as exc:
            self._failures.inc()
            is_timeout = isinstance(exc, asyncpg.QueryCanceledError)
            raise QueryFailed(_reason(exc), is_timeout=is_timeout) from exc
        except _UNAVAILABLE as exc:
            self._failures.inc()
            raise DatabaseUnavailable(_reason(exc)) from exc
        finally:
            self._seconds.observe(time.perf_counter() - begun)

    async def _query(self, pairs: Collection[Pair], seconds: float) -> set[Pair]:
        """Run the query once.

        In one transaction, so that its settings also apply behind a pooler. Where row-level
        security would hide rows, PostgreSQL refuses the query.
        """
        self._queries.inc()
        self._pairs.inc(len(pairs))
        projects, users = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        async with self._pool.acquire() as connection:
            now = asyncio.get_running_loop().time()
            if now >= self._search_path_until:
                self._search_path = await self._find_search_path(connection)
                self._search_path_until = now + SEARCH_PATH_SECONDS
                self.id = await _read_id(connection)
            # a standby refuses the first statement: its answers may be outdated
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

    async def _find_search_path(self, connection: PoolConnectionProxy) -> str:
        async with connection.transaction(readonly=True):
            if self._url_path:
                await connection.execute(_SET_PATH, self._url_path)
            return safe_search_path(await connection.fetchval(OWN_SCHEMAS_SQL))


async def _read_id(connection: PoolConnectionProxy) -> str:
    try:
        return str(await connection.fetchval(DATABASE_ID_SQL))
    except asyncpg.InsufficientPrivilegeError:
        return ""  # the right to read it was revoked


def _reason(exc: Exception) -> str:
    return f"{type(exc).__name__}: {exc}"

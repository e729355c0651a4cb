"""Asks the database who may hear of a project: many questions at once, as one query."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final, TypeAlias

import asyncpg
from prometheus_client import CollectorRegistry, Counter

from gateway.core.membership import Membership
from gateway.core.pairs import Pair
from shared.core.access_rules import AccessRules
from shared.core.protocol import Recheck

Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
TIMEOUT_SECONDS: Final = 5.0
_UNANSWERED: Final = (
    OSError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    # a pooled session that the server has told its end, and whose closing has not come yet
    asyncpg.InternalClientError,
    IndexError,  # a query of one's own that does not give pairs
)
_ENDED: Final = "the gateway is shutting down"
_OVERTAKEN: Final = "access changes faster than it can be asked"


@asynccontextmanager
async def open_pool(url: str) -> AsyncIterator[Pool]:
    """A pool that connects when it is first asked: the database may be away at start."""
    pool = await asyncpg.create_pool(
        url,
        min_size=0,
        max_size=2,
        timeout=TIMEOUT_SECONDS,
        command_timeout=TIMEOUT_SECONDS,
        server_settings={"application_name": "neverstale gateway"},
    )
    try:
        yield pool
    finally:
        pool.terminate()


class AccessUnavailable(Exception):
    """The database could not be asked."""


class Access:
    """The ``[access] query`` of ``invalidation.toml``, asked of the primary.

    One query at a time: what is wanted while it runs is in the next.
    """

    def __init__(self, pool: Pool, rules: AccessRules, registry: CollectorRegistry) -> None:
        self._pool = pool
        self._rules = rules
        self._membership = Membership()
        self.has_ended = False
        self._waiting: dict[Pair, list[asyncio.Future[bool]]] = {}
        self._wanted = asyncio.Event()
        self._queries = Counter(
            "neverstale_access_queries_total", "Access queries sent", registry=registry
        )
        self._pairs = Counter(
            "neverstale_access_pairs_total", "Projects and users asked for", registry=registry
        )

    def is_known(self, pair: Pair) -> bool:
        """Whether the answer was yes a moment ago, and nothing happened since."""
        return self._membership.is_known(pair, asyncio.get_running_loop().time())

    def doubt(self, recheck: Recheck) -> None:
        """Whatever was answered, or is being asked, may not be so any more."""
        self._membership.doubt(recheck)

    async def may_hear(self, pair: Pair) -> bool:
        """Whether the user may hear of the project; both ids canonical.

        Raises:
            AccessUnavailable: the database is away or refused the query.
        """
        return self.is_known(pair) or await self.ask(pair)

    async def ask(self, pair: Pair) -> bool:
        """The same, asked anew. Raises ``AccessUnavailable``."""
        if self.has_ended:
            raise AccessUnavailable(_ENDED)
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(pair, []).append(answer)
        self._membership.want(pair, asyncio.get_running_loop().time())
        self._wanted.set()
        return await answer

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
        loop = asyncio.get_running_loop()
        question = self._membership.ask(loop.time())
        pairs = list(question.pairs)
        try:
            yes, unasked = await self._allowed(pairs)
        except _UNANSWERED as exc:
            self._membership.failed(question)
            for pair in pairs:
                self._fail(pair, f"{type(exc).__name__}: {exc}")
            return
        for pair, allowed in self._membership.answered(question, yes, loop.time()).items():
            if pair in unasked or allowed is None:
                self._fail(pair, unasked.get(pair, _OVERTAKEN))
                continue
            for waiting in self._waiting.pop(pair, ()):
                if not waiting.done():
                    waiting.set_result(allowed)

    async def _allowed(self, pairs: Sequence[Pair]) -> tuple[set[Pair], dict[Pair, str]]:
        """Those of the pairs that may hear, and those that can't be asked, each with why: an id
        that a query of one's own can't read fails for nobody else.
        """
        self._queries.inc()
        self._pairs.inc(len(pairs))
        projects, users = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        try:
            rows = await self._pool.fetch(self._rules.query, projects, users)
        except asyncpg.DataError as exc:
            if len(pairs) == 1:
                return set(), {pairs[0]: str(exc)}
            middle = len(pairs) // 2
            yes, unasked = await self._allowed(pairs[:middle])
            more_yes, more_unasked = await self._allowed(pairs[middle:])
            return yes | more_yes, unasked | more_unasked
        return {(str(row[0]), str(row[1])) for row in rows}, {}

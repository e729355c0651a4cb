"""Access checks survive all that the database driver may raise, and a pair that fails does not
affect others.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import asyncpg
import pytest
from prometheus_client import CollectorRegistry

from gateway.access import checker as access_module
from gateway.access.checker import AccessChecker, AccessUnavailable
from gateway.access.database import MAX_ROWS, Pool
from gateway.access.pairs import Pair
from shared.config.access_rules import bounded_sql, parse_access
from shared.links.database_id import DATABASE_ID_SQL
from shared.links.search_path import safe_search_path

PAIR = ("p", "u")
RULES = parse_access({"access": {"project_type": "text", "user_type": "text"}})
Answer = Callable[[list[Pair]], list[Pair]]


class _Pool:
    """A pool and its only connection; *answer* is the query, and may raise."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.statements: list[str] = []
        self.asked: list[list[Pair]] = []
        self.renewals = 0
        self.database = "1.2"  # empty: it is away

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator["_Pool"]:
        if not self.database:
            raise OSError("away")
        yield self

    @asynccontextmanager
    async def transaction(self, *, readonly: bool) -> AsyncIterator[None]:
        assert readonly
        yield

    async def fetchval(self, sql: str) -> list[str] | str:
        return self.database if sql == DATABASE_ID_SQL else ["app", "public"]

    async def expire_connections(self) -> None:
        self.renewals += 1

    async def execute(self, sql: str) -> None:
        self.statements.append(sql)

    async def fetch(self, _sql: str, projects: list[str], users: list[str]) -> list[Pair]:
        pairs = list(zip(projects, users, strict=True))
        self.asked.append(pairs)
        await asyncio.sleep(0)
        return self.answer(pairs)


def _access(pool: Any) -> AccessChecker:
    return AccessChecker(cast(Pool, pool), RULES, CollectorRegistry())


async def _check(access: AccessChecker, pairs: list[Pair]) -> list[bool | str]:
    """Check all pairs at once; a failed check gives its reason."""
    running = asyncio.ensure_future(access.run())
    async with asyncio.timeout(10):
        found = await asyncio.gather(*map(access.check, pairs), return_exceptions=True)
    running.cancel()
    answers: list[bool | str] = []
    for one in found:
        assert isinstance(one, bool | AccessUnavailable)
        answers.append(one if isinstance(one, bool) else str(one))
    return answers


@pytest.mark.parametrize(
    "failure",
    [
        OSError("gone"),
        TimeoutError(),
        asyncpg.InterfaceError("the connection is closed"),
        asyncpg.AdminShutdownError("terminating connection"),
        asyncpg.InternalClientError("another operation (2) is in progress"),
        asyncpg.UndefinedColumnError("column owner_id does not exist"),
    ],
    ids=lambda failure: type(failure).__name__,
)
async def test_after_a_query_that_fails_the_next_is_sent(failure: Exception) -> None:
    failures = [failure]

    def fail_once(pairs: list[Pair]) -> list[Pair]:
        if failures:
            raise failures.pop()
        return pairs

    access = _access(pool := _Pool(fail_once))
    assert await _check(access, [PAIR]) == [f"{type(failure).__name__}: {failure}"]
    access = _access(pool)
    assert await _check(access, [PAIR]) == [True]


@pytest.mark.parametrize(
    "failure",
    [
        asyncpg.InvalidCachedStatementError("cached statement plan is invalid"),
        asyncpg.OutdatedSchemaCacheError("unexpected number of attributes"),
        asyncpg.InternalServerError("cache lookup failed for type 16385"),
    ],
    ids=lambda failure: type(failure).__name__,
)
@pytest.mark.parametrize("times", [1, 2])
async def test_a_query_that_a_migration_invalidated_is_sent_once_more(
    failure: Exception, times: int
) -> None:
    failures = [failure] * times

    def fail(pairs: list[Pair]) -> list[Pair]:
        if failures:
            raise failures.pop()
        return pairs

    reason = f"{type(failure).__name__}: {failure}"
    assert await _check(_access(_Pool(fail)), [PAIR]) == [True if times == 1 else reason]


async def test_the_database_is_identified_again_on_a_new_connection() -> None:
    """Another one may replace it behind the URL; while it is away, the last id counts."""
    access = _access(pool := _Pool(lambda pairs: pairs))
    pool.database = ""
    await access.learn_database()
    assert not access.knows_database()
    assert not access.is_foreign("1.2")
    for database in ("1.2", "1.3"):
        pool.database = database
        renewals = pool.renewals
        await access.learn_database()
        assert access.knows_database()
        assert not access.is_foreign(database)
        assert access.is_foreign("1.4")
        assert pool.renewals == renewals + 1
    pool.database = ""
    await access.learn_database()
    assert access.is_foreign("1.2")


@pytest.mark.parametrize(
    "failure",
    [ValueError("no UTF-8"), asyncpg.UndefinedTableError("gone"), OSError("away"), None],
    ids=lambda failure: type(failure).__name__,
)
async def test_a_query_that_fails_at_the_start_is_logged(
    failure: Exception | None, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: list[Pair]) -> list[Pair]:
        if failure is not None:
            raise failure
        return [PAIR] * (MAX_ROWS + 1)

    with caplog.at_level(logging.WARNING):
        await _access(_Pool(fail)).verify()
    assert "access queries failed" in caplog.text


async def test_checks_fail_when_the_gateway_ends() -> None:
    class Never(_Pool):
        async def fetch(self, *_: Any) -> list[Pair]:
            await asyncio.Event().wait()
            return []

    access = _access(Never(lambda pairs: pairs))
    running = asyncio.ensure_future(access.run())
    asking = asyncio.ensure_future(access.check(PAIR))
    for _ in range(9):
        await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(AccessUnavailable):
        async with asyncio.timeout(5):
            await asking
    with pytest.raises(AccessUnavailable):
        await access.check(PAIR)


PAIRS = [(f"p{number}", "u") for number in range(100)]
POISON = PAIRS[37]


@pytest.mark.parametrize(
    "failure",
    [
        asyncpg.QueryCanceledError("canceling statement due to statement timeout"),
        asyncpg.DataError("invalid input syntax"),
        asyncpg.CardinalityViolationError("more than one row returned by a subquery"),
        asyncpg.RaiseError("no such project"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
        None,
    ],
    ids=lambda failure: type(failure).__name__,
)
async def test_a_pair_for_which_the_query_fails_does_not_affect_others(
    failure: Exception | None,
) -> None:
    def answer(pairs: list[Pair]) -> list[Pair]:
        if POISON not in pairs:
            return pairs[1:]  # a few are refused
        if failure is not None:
            raise failure
        return [POISON] * (MAX_ROWS + 1)

    access = _access(pool := _Pool(answer))
    answers = await _check(access, PAIRS)
    for pair, given in zip(PAIRS, answers, strict=True):
        assert isinstance(given, str) == (pair == POISON)
    assert len(pool.asked) < 30
    assert pool.statements[0].startswith(
        "begin read write; set transaction read only;"
        ' set local search_path = pg_catalog, "app", "public", pg_temp;'
        " set local statement_timeout = 2000; set local row_security = off"
    )
    assert "statement_timeout = 500;" in pool.statements[2]
    assert pool.statements.count("commit") + pool.statements.count("rollback") == len(
        pool.asked
    )


async def test_a_pair_that_timed_out_is_not_queried_again_for_a_while(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def answer(pairs: list[Pair]) -> list[Pair]:
        if POISON in pairs:
            raise asyncpg.QueryCanceledError("canceling statement due to statement timeout")
        return pairs

    access = _access(pool := _Pool(answer))
    running = asyncio.ensure_future(access.run())
    for _ in range(2):  # alone: it may be the database that is slow
        with pytest.raises(AccessUnavailable, match="statement timeout"):
            await access.check(POISON)
    others = asyncio.gather(*map(access.check, PAIRS[:9]))
    with pytest.raises(AccessUnavailable, match="statement timeout"):
        await access.check(POISON)
    assert all(await others)
    asked = len(pool.asked)
    caplog.clear()
    others = asyncio.gather(*map(access.check, PAIRS[:9]))
    with pytest.raises(AccessUnavailable, match="takes too long"):
        await access.check(POISON)
    assert all(await others)
    assert all(POISON not in pairs for pairs in pool.asked[asked:])
    assert not [line for line in caplog.records if line.levelno >= logging.WARNING], (
        "rate-limited"
    )
    monkeypatch.setattr(access_module, "SLOW_SECONDS", 0.0)
    access._slow_until.clear()
    pool.answer = lambda pairs: pairs
    assert await access.check(POISON)
    running.cancel()


async def test_a_check_that_is_not_answered_in_time_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(access_module, "TIMEOUT_SECONDS", 0.0)
    access = _access(pool := _Pool(lambda pairs: pairs))
    answers = await _check(access, PAIRS)
    assert set(answers) == {"the database did not answer in time"}
    assert not pool.asked


def test_the_search_path_begins_with_pg_catalog_and_ends_with_pg_temp() -> None:
    assert safe_search_path([]) == "pg_catalog, pg_temp"
    assert safe_search_path(["pg_temp_3", "app", "pg_catalog", 'a"b']) == (
        'pg_catalog, "app", "a""b", pg_temp'
    )


@pytest.mark.parametrize(
    ("query", "inner"),
    [
        ("select 1, 2", "select 1, 2"),
        ("select 1, 2;", "select 1, 2"),
        ("select 1, 2; -- all;\n /* of\nit */ ", "select 1, 2"),
        ("select 1, 2 -- all", "select 1, 2 -- all"),
        ("select ';', 2", "select ';', 2"),
    ],
)
def test_a_query_is_bounded_with_any_ending(query: str, inner: str) -> None:
    assert f"from (\n{inner}\n) as found" in bounded_sql(query, 7)
    assert bounded_sql(query, 7).endswith("limit 7")


async def test_clients_that_come_while_many_were_asked_for_share_the_next_query(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(access_module, "REST_SECONDS", 0.05)
    pool = _Pool(lambda pairs: pairs)
    access = _access(pool)
    running = asyncio.ensure_future(access.run())
    async with asyncio.timeout(10):
        await asyncio.gather(*(access.check(("p", f"u{n}")) for n in range(200)))
        late = []
        for number in range(5):
            late.append(asyncio.ensure_future(access.check(("p", f"late {number}"))))
            for _ in range(20):  # more turns of the loop than a query takes
                await asyncio.sleep(0)
        await asyncio.gather(*late)
    running.cancel()
    assert [len(pairs) for pairs in pool.asked] == [200, 5]

"""A gateway's access queries through a pooler, in each pool mode."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from gateway.access.checker import AccessChecker, AccessUnavailable
from gateway.access.database import open_pool
from shared.config.access_rules import AccessRules
from shared.links.database_url import parse_database_url
from tests.support.pooler import running_pooler
from tests.support.processes import HANG_SECONDS
from tests.support.world import World

QUERY = (
    "select g.p, g.u from unnest($1::text[], $2::text[]) as asked (p, u)"
    " join grants g on g.p = asked.p and g.u = asked.u"
)


@pytest.fixture
def pooler(world: World, tmp_path: Path) -> Iterator[str]:
    with running_pooler(world, tmp_path) as url:
        yield url


@asynccontextmanager
async def asking(url: str) -> AsyncIterator[AccessChecker]:
    async with open_pool(url) as pool:
        path = parse_database_url(url).search_path
        rules = AccessRules("text", "text", QUERY, "")
        access = AccessChecker(pool, rules, CollectorRegistry(), search_path=path)
        running = asyncio.create_task(access.run())
        yield access
        running.cancel()


async def test_access_is_checked_through_a_pooler(world: World, pooler: str) -> None:
    await world.database.execute(
        "create schema app; create table app.grants (p text, u text);"
        "insert into app.grants select n::text, 'ada' from generate_series(0, 99, 2) n"
    )
    pooled = "schema=app&pgbouncer=true"
    for url in (
        f"{world.database_url}?schema=app",
        f"{pooler}/session?schema=app",
        f"{pooler}/session?{pooled}",
        f"{pooler}/transaction?{pooled}",
    ):
        async with AsyncExitStack() as stack, asyncio.timeout(HANG_SECONDS):
            # several at once alternate between the server's sessions
            gateways = [await stack.enter_async_context(asking(url)) for _ in range(4)]
            for number in range(20):
                answers = await asyncio.gather(
                    *(access.check((str(number), "ada")) for access in gateways)
                )
                assert answers == [number % 2 == 0] * 4, url
    async with asking(f"{pooler}/statement?{pooled}") as access:
        with pytest.raises(AccessUnavailable, match="statement pooling mode"):
            await access.check(("0", "ada"))

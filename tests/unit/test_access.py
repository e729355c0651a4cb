"""Access is asked again after whatever the database's driver may raise."""

import asyncio
from typing import Any, cast

import asyncpg
import pytest
from prometheus_client import CollectorRegistry

from gateway.access import Access, AccessUnavailable, Pool
from shared.core.access_rules import parse_access

PAIR = ("p", "u")


class _Pool:
    """Fails once, then says yes."""

    def __init__(self, failure: Exception) -> None:
        self._failures = [failure]

    async def fetch(self, *_: Any) -> list[tuple[str, str]]:
        if self._failures:
            raise self._failures.pop()
        return [PAIR]


@pytest.mark.parametrize(
    "failure",
    [
        OSError("gone"),
        TimeoutError(),
        asyncpg.InterfaceError("the connection is closed"),
        asyncpg.AdminShutdownError("terminating connection"),
        asyncpg.InternalClientError("another operation (2) is in progress"),
    ],
    ids=lambda failure: type(failure).__name__,
)
async def test_a_query_that_fails_is_no_answer_and_the_next_is_sent(failure: Exception) -> None:
    access = Access(cast(Pool, _Pool(failure)), parse_access({}), CollectorRegistry())
    running = asyncio.ensure_future(access.run())
    with pytest.raises(AccessUnavailable):
        async with asyncio.timeout(5):
            await access.ask(PAIR)
    assert await access.ask(PAIR)
    running.cancel()

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


async def test_nobody_is_left_waiting_when_the_gateway_ends() -> None:
    class Never:
        async def fetch(self, *_: Any) -> list[tuple[str, str]]:
            await asyncio.Event().wait()
            return []

    access = Access(cast(Pool, Never()), parse_access({}), CollectorRegistry())
    running = asyncio.ensure_future(access.run())
    asking = asyncio.ensure_future(access.ask(PAIR))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(AccessUnavailable):
        async with asyncio.timeout(5):
            await asking
    with pytest.raises(AccessUnavailable):
        await access.ask(PAIR)

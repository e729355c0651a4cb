"""Finds the primary that sentinels watch."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

from redis.exceptions import RedisError

from shared.links.redis_link import Client, Locate, RedisLost, connect, describe_error
from shared.links.redis_url import RedisUrl, Sentinel

ASK_SECONDS: Final = 1.0


def sentinel_locate(target: RedisUrl) -> Locate | None:
    """Return what looks up the primary's address; None if the target names no sentinels.

    The first sentinel that knows the primary decides: the caller checks that the server is one.
    """
    sentinel = target.sentinel
    if sentinel is None:
        return None

    async def locate() -> tuple[str, int]:
        reasons = []
        for host, port in target.hosts:
            try:
                async with sentinel_client(target, sentinel, host, port) as client:
                    address = await ask_sentinel(client, sentinel.name)
            except RedisLost as exc:
                reasons.append(str(exc))
                continue
            if address is not None:
                return address
            reasons.append("it watches no primary of that name")
        raise RedisLost(f"no sentinel knows the primary: {'; '.join(reasons)}")

    return locate


@asynccontextmanager
async def sentinel_client(
    target: RedisUrl, sentinel: Sentinel, host: str, port: int
) -> AsyncIterator[Client]:
    """Yield a client of one sentinel. An error inside, or a timeout, is a ``RedisLost``."""
    login = replace(target, user=sentinel.user, password=sentinel.password, database=0)
    client = connect(login.at(host, port))
    try:
        async with asyncio.timeout(ASK_SECONDS):
            yield client
    except (RedisError, OSError) as exc:
        raise RedisLost(describe_error(exc)) from exc
    finally:
        await client.drop_connections()


async def ask_sentinel(client: Client, name: str) -> tuple[str, int] | None:
    """Return the address of the primary of that name; None: the sentinel knows none."""
    answer: Sequence[bytes] | None = await client.execute_command(  # type: ignore[no-untyped-call]
        "SENTINEL", "GET-MASTER-ADDR-BY-NAME", name
    )
    if answer is None:
        return None
    host, port = answer
    return host.decode(), int(port)

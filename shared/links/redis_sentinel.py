"""Finds the primary that sentinels watch."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from redis.exceptions import RedisError

from shared.links.redis_link import Client, Locate, RedisLost, connect, describe_error
from shared.links.redis_url import RedisUrl, Sentinel

ASK_SECONDS = 1.0


def sentinel_locate(target: RedisUrl) -> Locate | None:
    """Return what looks up the primary's address; None if the target names no sentinels.

    The first sentinel that knows the primary decides: the caller checks that the server is one.
    """
    sentinel = target.sentinel
    if sentinel is None:
        return None
    login = replace(target, user=sentinel.user, password=sentinel.password, database=0)

    async def locate() -> tuple[str, int]:
        reasons = []
        for host, port in target.hosts:
            client = connect(login.at(host, port))
            try:
                async with asyncio.timeout(ASK_SECONDS):
                    return await _ask(client, sentinel)
            except (RedisError, OSError, LookupError) as exc:
                reasons.append(describe_error(exc))
            finally:
                await client.drop_connections()
        raise RedisLost(f"no sentinel knows the primary: {'; '.join(reasons)}")

    return locate


async def _ask(client: Client, sentinel: Sentinel) -> tuple[str, int]:
    answer: Sequence[bytes] | None = await client.execute_command(  # type: ignore[no-untyped-call]
        "SENTINEL", "GET-MASTER-ADDR-BY-NAME", sentinel.name
    )
    if answer is None:
        raise LookupError("it watches no primary of that name")
    host, port = answer
    return host.decode(), int(port)

"""What is known of each Redis server for the status: one server, or a cluster's primaries."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from redis.exceptions import RedisError

from shared.links.redis_access import RedisAccess
from shared.links.redis_link import Client, RedisLost
from shared.links.redis_server import describe_product
from shared.protocol.slots import count_slots, ranges_by_address

_ASK_SECONDS: Final = 1.0


async def read_nodes(redis: RedisAccess) -> list[dict[str, Any]]:
    """Return the server, or each primary that has slots, with what it says of itself.

    One that does not answer within a second has null there. Empty if no node of a cluster
    answers.
    """
    if redis.nodes is None:
        return [_describe(await _address(redis), None, await _ask(redis.client))]
    try:
        served = ranges_by_address(await redis.nodes.survey())
    except RedisLost:
        return []
    async with asyncio.TaskGroup() as tasks:
        asked = {
            address: tasks.create_task(_ask(redis.nodes.client(*address)))
            for address, ranges in served.items()
            if ranges[0].identity is not None
        }
    return [
        _describe(
            f"{address[0]}:{address[1]}",
            count_slots(ranges),
            asked[address].result() if address in asked else {},
        )
        for address, ranges in sorted(served.items())
    ]


async def _address(redis: RedisAccess) -> str:
    host, port = redis.target.hosts[0]
    if redis.locate is not None:
        with suppress(RedisLost):
            host, port = await redis.locate()
    return redis.target.socket or f"{host}:{port}"


async def _ask(client: Client) -> Mapping[str, Any]:
    """Return the fields of INFO; none without an answer."""
    try:
        async with asyncio.timeout(_ASK_SECONDS):
            return await client.info()
    except (RedisError, OSError, RedisLost):
        await client.drop_connections()
        return {}


def _describe(address: str, slots: int | None, info: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "address": address,
        "up": bool(info),
        "slots": slots,
        "replicas": info.get("connected_slaves"),
        "used_memory_bytes": info.get("used_memory"),
        "version": describe_product(info) if info else None,
    }

"""Reads what is known of the nodes of a Redis Cluster, or of sentinels."""

import asyncio

from redis.exceptions import ResponseError

from operations.check.cluster_findings import ClusterFacts, SentinelFacts
from operations.check.redis_facts import read_redis
from operations.check.redis_findings import NO_RIGHT, RedisFacts
from shared.links.redis_access import RedisAccess
from shared.links.redis_cluster import ClusterNodes
from shared.links.redis_link import RedisLost, describe_error
from shared.links.redis_sentinel import ask_sentinel, sentinel_client
from shared.links.redis_url import RedisUrl, Sentinel
from shared.protocol.slots import SLOT_COUNT, count_slots, ranges_by_address


async def read_cluster(
    redis: RedisAccess, nodes: ClusterNodes, *, own_database: str
) -> ClusterFacts:
    """Read all nodes at once. Raises ``RedisLost`` if none answers."""
    read: dict[str, RedisFacts] = {}
    silent: dict[str, str] = {}
    try:
        seen = await nodes.survey()
        served = ranges_by_address(seen)
        unserved = SLOT_COUNT - count_slots(seen)
    except RedisLost:
        # those of the URL may tell why: a right is missing, or they are no cluster
        served, unserved = {host: [] for host in redis.target.hosts}, 0
    addresses = [*served, *(one for one in nodes.addresses if one not in served)]

    async def read_node(host: str, port: int) -> None:
        try:
            read[f"{host}:{port}"] = await read_redis(
                nodes.client(host, port),
                redis.names,
                own_database=own_database,
                served=served.get((host, port), ()),
            )
        except RedisLost as exc:
            silent[f"{host}:{port}"] = str(exc)

    async with asyncio.TaskGroup() as tasks:
        for address in addresses:
            tasks.create_task(read_node(*address))
    if not read:
        raise RedisLost("; ".join(f"{address}: {reason}" for address, reason in silent.items()))
    return ClusterFacts(dict(sorted(read.items())), dict(sorted(silent.items())), unserved)


async def read_sentinels(target: RedisUrl, sentinel: Sentinel) -> SentinelFacts:
    """Ask each sentinel where the primary is, and whether it could be replaced."""
    primaries: dict[str, str | None] = {}
    silent: dict[str, str] = {}
    no_quorum = ""
    for host, port in target.hosts:
        try:
            async with sentinel_client(target, sentinel, host, port) as client:
                found = await ask_sentinel(client, sentinel.name)
                primaries[f"{host}:{port}"] = found and f"{found[0]}:{found[1]}"
                if found is not None and not no_quorum:
                    try:
                        await client.execute_command("SENTINEL", "CKQUORUM", sentinel.name)  # type: ignore[no-untyped-call]
                    except ResponseError as exc:
                        refused = describe_error(exc)
                        no_quorum = "" if NO_RIGHT in refused else refused
        except RedisLost as exc:
            silent[f"{host}:{port}"] = str(exc)
    return SentinelFacts(sentinel.name, primaries, silent, no_quorum)

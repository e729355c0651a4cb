"""How a process reaches Redis: one server, the primary behind sentinels, or a cluster."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from shared.links.redis_cluster import ClusterNodes
from shared.links.redis_link import Client, Locate, RedisLost, connect
from shared.links.redis_sentinel import sentinel_locate
from shared.links.redis_server import RedisServer
from shared.links.redis_url import RedisUrl, parse_redis_url
from shared.protocol.channels import RedisNames


@dataclass(frozen=True, slots=True)
class RedisAccess:
    """``client`` is of the server that stores the state.

    ``locate`` looks up its address, where this may change; ``nodes`` are those of a cluster.
    """

    names: RedisNames
    target: RedisUrl
    client: Client
    locate: Locate | None = None
    nodes: ClusterNodes | None = None

    def connect(self) -> Client:
        """Return another client of that server, which the caller closes."""
        return connect(self.target, self.locate)

    def check_mode(self, server: RedisServer) -> None:
        """Raise ``RedisLost`` if the server is of a cluster, but REDIS_CLUSTER is not set."""
        if server.is_cluster_node and self.nodes is None:
            raise RedisLost("this server is a node of a cluster: set REDIS_CLUSTER=true")


@asynccontextmanager
async def open_redis(url: str, prefix: str, *, is_cluster: bool) -> AsyncIterator[RedisAccess]:
    """Yield the access, and close all its connections at the end. Nothing connects yet."""
    target = parse_redis_url(url)
    names = RedisNames(prefix, is_cluster=is_cluster)
    nodes = ClusterNodes(target) if is_cluster else None
    locate = nodes.locate(names.state) if nodes else sentinel_locate(target)
    client = connect(target, locate)
    try:
        yield RedisAccess(names, target, client, locate, nodes)
    finally:
        await client.aclose()
        if nodes is not None:
            await nodes.aclose()

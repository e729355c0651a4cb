"""The parts of delivery that depend on whether Redis is one server or a cluster."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from gateway.access.revalidation import Revalidator
from gateway.delivery.broker import Broker
from gateway.delivery.channel_logs import ChannelLogs, ShardLogs
from gateway.delivery.cluster_broker import ClusterBroker
from gateway.delivery.cluster_channels import ClusterChannels
from gateway.delivery.fanout import Fanout
from gateway.delivery.shard_links import ShardLinks
from gateway.metrics import LinkMetrics
from shared.links.redis_access import RedisAccess

MakeBroker: TypeAlias = Callable[
    [Fanout, Revalidator, Callable[[str], None], LinkMetrics], Broker
]
LinkedNodes: TypeAlias = Callable[[], list[str]]


@dataclass(frozen=True, slots=True)
class RedisParts:
    """``channels`` and ``linked_nodes`` are None with one server.

    ``make_broker`` takes what ends a user's connections, given the user. ``linked_nodes``: the
    addresses of the cluster's nodes to which this gateway is linked.
    """

    logs: ChannelLogs
    channels: ClusterChannels | None
    make_broker: MakeBroker
    linked_nodes: LinkedNodes | None = None


def redis_parts(redis: RedisAccess, *, ttl_seconds: int) -> RedisParts:
    """Return the parts for this access."""
    if redis.nodes is None:
        logs = ChannelLogs(redis.client, redis.names, ttl_seconds=ttl_seconds)
        return RedisParts(logs, None, partial(Broker, redis))
    channels = ClusterChannels(redis.names)
    links = ShardLinks(redis.nodes, channels)
    logs = ShardLogs(redis, redis.nodes, channels, links, ttl_seconds=ttl_seconds)
    make_broker = partial(ClusterBroker, redis, links, channels)
    return RedisParts(logs, channels, make_broker, lambda: links.linked_nodes)

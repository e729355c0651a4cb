"""The broker of a gateway on a Redis Cluster."""

import asyncio
from collections.abc import Callable, Mapping

from gateway.access.revalidation import Revalidator
from gateway.delivery.broker import Broker
from gateway.delivery.cluster_channels import ClusterChannels
from gateway.delivery.effect_runner import Link
from gateway.delivery.fanout import Fanout
from gateway.delivery.pubsub import PubSub
from gateway.delivery.shard_links import ShardLinks
from gateway.metrics import LinkMetrics
from shared.links.redis_access import RedisAccess
from shared.links.redis_link import RedisLost, read_state, translated_errors
from shared.protocol.control_messages import Tick
from shared.protocol.slots import parse_slot_table, slot_of
from shared.runtime.backoff import Backoff
from shared.runtime.lifecycle import raise_if_cancelled


class ClusterBroker(Broker):
    """Has its own connection to the node that serves ``neverstale:state``.

    Ticks, rechecks and disconnects come on it; while it is lost, nothing is delivered. The
    channels of projects and users are subscribed to on the nodes that the leader's slot table
    names.
    """

    def __init__(
        self,
        redis: RedisAccess,
        links: ShardLinks,
        channels: ClusterChannels,
        fanout: Fanout,
        revalidator: Revalidator,
        disconnect: Callable[[str], None],
        metrics: LinkMetrics,
    ) -> None:
        super().__init__(redis, fanout, revalidator, disconnect, metrics)
        self._links = links
        self._channels = channels
        self._state_slot = slot_of(self._names.state)
        self._table_changed = asyncio.Event()
        self._generation = ""  # in which the table was read

    async def run(self) -> None:
        """Keep all connections. Never returns."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(
                self._links.run(self.deliver, self._fanout.acknowledge, self._fanout.lose)
            )
            await super().run()

    def _link_of_channels(self, link: PubSub, state: Mapping[str, str]) -> Link:
        self._use_table(link, state)
        return self._links

    def _use_table(self, link: PubSub, state: Mapping[str, str]) -> None:
        """Use the stored slot table. Raises ``RedisLost`` if another node serves the state."""
        self._generation = state.get("generation", "")
        table = parse_slot_table(state.get("slots", ""))
        serving = table.of(self._state_slot)
        if serving is not None and serving.node.identity != link.server.identity:
            raise RedisLost("another node serves the slot of neverstale:state now")
        if table != self._channels.table:
            self._links.apply(table)

    def _receive_tick(self, tick: Tick) -> None:
        super()._receive_tick(tick)
        # the versions of another generation may have begun again
        if (tick.generation, tick.slots) != (self._generation, self._channels.table.version):
            self._table_changed.set()

    async def _watch_link(self, link: PubSub, backoff: Backoff, refusals: int) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._follow_table(link))
                await super()._watch_link(link, backoff, refusals)
        except ExceptionGroup as group:
            raise_if_cancelled()
            lost, others = group.split(RedisLost)
            if lost is None or others is not None:  # a fault of ours is not a lost link
                raise
            raise RedisLost(str(lost.exceptions[0])) from group

    async def _follow_table(self, link: PubSub) -> None:
        while True:
            await self._table_changed.wait()
            self._table_changed.clear()
            async with translated_errors(self._client):
                state = await read_state(self._client, self._names.state)
            self._use_table(link, state)

"""Subscriber connections to the nodes of a cluster, with each channel on the right one."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Sequence
from typing import TypeAlias

from gateway.delivery.cluster_channels import ClusterChannels
from gateway.delivery.pubsub import OnAcknowledged, OnMessages, OnMoved, PubSub
from shared.links.redis_cluster import ClusterNodes
from shared.links.redis_link import RedisLost
from shared.protocol.channels import Channel
from shared.protocol.slots import Node, SlotTable, slot_of
from shared.runtime.backoff import Backoff

OnLost: TypeAlias = Callable[[Sequence[bytes]], None]

log = logging.getLogger(__name__)


class ShardLinks:
    """The subscriptions to shard channels."""

    def __init__(self, nodes: ClusterNodes, channels: ClusterChannels) -> None:
        self._nodes = nodes
        self._channels = channels
        self._wanted: dict[int, set[str]] = {}  # by slot
        self._links: dict[Node, _NodeLink] = {}
        self._tasks: asyncio.TaskGroup
        self._on_messages: OnMessages
        self._on_acknowledged: OnAcknowledged
        self._on_lost: OnLost

    async def run(
        self, on_messages: OnMessages, on_acknowledged: OnAcknowledged, on_lost: OnLost
    ) -> None:
        """Keep the connections. Never returns.

        Each name is passed to *on_lost* when messages of it may be missed: its node's
        connection is lost, the node ends its subscription, or another node serves its slot. It
        is subscribed to again as soon as that is possible, and then acknowledged again.
        """
        self._on_messages, self._on_acknowledged = on_messages, on_acknowledged
        self._on_lost = on_lost
        async with asyncio.TaskGroup() as self._tasks:
            await asyncio.Event().wait()

    @property
    def linked_nodes(self) -> list[str]:
        """The addresses of the nodes whose connections are open."""
        return [f"{node.host}:{node.port}" for node, one in self._links.items() if one.is_open]

    def subscribe(self, names: Sequence[str]) -> None:
        """Subscribe to channels, now or once their nodes can be reached."""
        for name in names:
            self._wanted.setdefault(slot_of(name), set()).add(name)
        for node, some in self._by_node(names):
            if node in self._links:
                self._links[node].subscribe(some)

    def unsubscribe(self, names: Sequence[str]) -> None:
        for name in names:
            slot = slot_of(name)
            self._wanted.get(slot, set()).discard(name)
            if not self._wanted.get(slot):
                self._wanted.pop(slot, None)
        for link in self._links.values():
            link.unsubscribe(names)

    def abort(self) -> None:
        """Lose all connections; they are opened again."""
        for link in self._links.values():
            link.abort()

    def abort_node(self, node: Node) -> None:
        """Lose the connection to one node; it is opened again."""
        if node in self._links:
            self._links[node].abort()

    def lose_channel(self, channel: Channel) -> None:
        """Give up what another node serves, until the table says so or it is served again."""
        serving = self._channels.serving(channel)
        if serving is not None and serving.node in self._links:
            self._links[serving.node].lose_slot(self._channels.slot(channel))

    def apply(self, table: SlotTable) -> None:
        """Use another table: subscribe elsewhere to what is served otherwise."""
        former, self._channels.table = self._channels.table, table
        moved = [
            name
            for slot, names in self._wanted.items()
            if former.of(slot) != table.of(slot)
            for name in names
        ]
        for link in self._links.values():
            link.unsubscribe(moved)
        if moved:
            self._on_lost([name.encode() for name in moved])
        self._keep_links()
        for node, some in self._by_node(moved):
            if node in self._links:
                self._links[node].subscribe(some)

    def _keep_links(self) -> None:
        nodes = self._channels.table.nodes
        for node in self._links.keys() - nodes:
            self._links.pop(node).close()
        for node in nodes - self._links.keys():
            link = self._links[node] = _NodeLink(
                node, self._connect, self._wanted_of, self._on_lost
            )
            link.start(self._tasks)

    def _by_node(self, names: Iterable[str]) -> Iterator[tuple[Node, list[str]]]:
        by_node: dict[Node, list[str]] = {}
        for name in names:
            serving = self._channels.table.of(slot_of(name))
            if serving is not None:
                by_node.setdefault(serving.node, []).append(name)
        yield from by_node.items()

    def _wanted_of(self, node: Node) -> Iterator[str]:
        for slot, names in self._wanted.items():
            serving = self._channels.table.of(slot)
            if serving is not None and serving.node == node:
                yield from names

    async def _connect(self, node: Node, on_moved: OnMoved) -> PubSub:
        target = self._nodes.target(node.host, node.port)
        return await PubSub.connect(target, self._on_messages, self._on_acknowledged, on_moved)


class _NodeLink:
    """The connection to one node, kept while the node serves any slot.

    ``_asked`` are the names that were subscribed to on the present connection.
    """

    def __init__(
        self,
        node: Node,
        connect: Callable[[Node, OnMoved], Awaitable[PubSub]],
        wanted_of: Callable[[Node], Iterable[str]],
        on_lost: OnLost,
    ) -> None:
        self._connect = connect
        self._wanted_of = wanted_of
        self._on_lost = on_lost
        self._node = node
        self._pubsub: PubSub | None = None
        self._asked: set[str] = set()
        self._is_incomplete = False
        self._task: asyncio.Task[None]

    @property
    def is_open(self) -> bool:
        return self._pubsub is not None

    def start(self, tasks: asyncio.TaskGroup) -> None:
        self._task = tasks.create_task(self._keep())

    def close(self) -> None:
        self._task.cancel()

    def abort(self) -> None:
        """Lose the connection, with all its channels at once; it is opened again."""
        if self._pubsub is not None:
            self._pubsub.abort()
        self._lose_all()

    def subscribe(self, names: Iterable[str]) -> None:
        if self._pubsub is not None:
            names = list(names)
            self._asked.update(names)
            self._pubsub.subscribe(names)

    def unsubscribe(self, names: Iterable[str]) -> None:
        """Unsubscribe from those of the names that are subscribed to here."""
        asked = [name for name in names if name in self._asked]
        if asked and self._pubsub is not None:
            self._asked.difference_update(asked)
            self._pubsub.unsubscribe(asked)

    def lose_slot(self, slot: int) -> None:
        """Subscribe to the slot's channels again, a second later."""
        names = [name for name in self._asked if slot_of(name) == slot]
        self.unsubscribe(names)
        self._lose(names)

    def _moved(self, where: int | bytes) -> None:
        """Messages of a slot, or of one channel, do not come on this connection any more."""
        if isinstance(where, bytes):
            names = [name for name in (where.decode(),) if name in self._asked]
        else:
            names = [name for name in self._asked if slot_of(name) == where]
        self._asked.difference_update(names)
        self._lose(names)

    def _lose(self, names: Collection[str]) -> None:
        if names:
            self._is_incomplete = True
            self._on_lost([name.encode() for name in names])

    def _lose_all(self) -> None:
        asked, self._asked = self._asked, set()
        self._lose(asked)

    async def _keep(self) -> None:
        backoff = Backoff()
        while True:
            try:
                await self._stay_linked(backoff)
            except RedisLost as exc:
                delay = backoff.next_delay()
                log.warning(
                    "redis node lost",
                    extra={
                        "node": f"{self._node.host}:{self._node.port}",
                        "reason": str(exc),
                        "delay_seconds": round(delay, 3),
                    },
                )
                await asyncio.sleep(delay)

    async def _stay_linked(self, backoff: Backoff) -> None:
        pubsub = await self._connect(self._node, self._moved)
        try:
            if pubsub.server.identity != self._node.identity:
                raise RedisLost("another server answers there: the leader has yet to notice it")
            self._pubsub = pubsub
            self.subscribe(self._wanted_of(self._node))
            while True:
                await pubsub.check()
                backoff.reset()
                if self._is_incomplete:
                    self._is_incomplete = False
                    wanted = self._wanted_of(self._node)
                    self.subscribe([name for name in wanted if name not in self._asked])
        finally:
            self._pubsub = None
            pubsub.abort()
            self._lose_all()

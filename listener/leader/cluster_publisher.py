"""Writes to a Redis Cluster for the leader."""

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence
from typing import ClassVar, Final, TypeAlias

from listener.leader.leader_state import LeaderState
from listener.leader.publication import Publication, PublicationRules
from listener.leader.publisher import (
    PUBLISH_LUA,
    Publisher,
    execute_reset,
    pieces,
    refusal,
)
from listener.leader.tracing import LeaderTracing
from shared.links.redis_access import RedisAccess
from shared.links.redis_cluster import MOVED_ERRORS, ClusterNodes
from shared.links.redis_link import Client, RedisLost, Script, translated_errors
from shared.links.redis_server import RedisServer
from shared.protocol.channels import Channel
from shared.protocol.events import Publishable
from shared.protocol.slots import (
    Node,
    SeenRange,
    SlotTable,
    parse_slot_table,
    plan_slots,
    slot_of,
)

# Shorter than with one server: the channels of all other nodes wait for it.
NODE_SECONDS: Final = 2.0
EVENTS_PER_PIPELINE: Final = 500  # the deadline is per pipeline

_Events: TypeAlias = Mapping[Channel, list[Publishable]]

log = logging.getLogger(__name__)


class ClusterPublisher(Publisher):
    """Publishes in each channel on the node that serves its slot, and keeps the slot table.

    A node that takes no events does not hold up the others: nobody serves its slots then, and
    their channels are reset once they are served again. The state, ticks and rechecks are on
    the node of ``neverstale:state``. While that one is away, nothing is published.
    """

    RESTORES_STATE: ClassVar = True  # the slot table resets the channels of the lost server
    PUBLISH: ClassVar = "SPUBLISH"

    def __init__(
        self,
        redis: RedisAccess,
        nodes: ClusterNodes,
        rules: PublicationRules,
        *,
        leader: str,
        ttl_seconds: int,
        tracing: LeaderTracing | None = None,
    ) -> None:
        super().__init__(redis, rules, leader=leader, ttl_seconds=ttl_seconds, tracing=tracing)
        self._nodes = nodes
        self._state_slot = slot_of(redis.names.state)
        self._table = SlotTable()
        self._planned: tuple[Sequence[SeenRange], SlotTable] | None = None
        self._saved_version = 0  # of the table
        self._scripts: dict[Node, Script] = {}
        self._server: RedisServer | None = None  # which the leader has adopted

    @property
    def linked_nodes(self) -> list[str] | None:
        seen = self._planned[0] if self._planned else ()
        answering = {(one.host, one.port) for one in seen if one.identity is not None}
        return [f"{host}:{port}" for host, port in sorted(answering)]

    @property
    def slots_version(self) -> int:
        return self._table.version

    async def adopt(self) -> tuple[dict[str, str], RedisServer]:
        """Like ``Publisher.adopt``, with the stored slot table as of now.

        A table that was saved, but is lost with a failover, is kept: gateways may have it.
        """
        stored, self._server = await super().adopt()
        table = parse_slot_table(stored.get("slots", ""))
        if table.version >= self._table.version:
            self._table = table
        self._saved_version = 0
        await self._survey()
        return stored, self._server

    async def server(self) -> RedisServer:
        """The server that stores the state; updates the slot table too.

        Raises ``RedisLost`` if it is not the one that was adopted.
        """
        server = await super().server()
        if self._server is not None and server.identity != self._server.identity:
            raise RedisLost("another server stores the state now")
        await self._survey()
        return server

    async def _survey(self) -> set[tuple[str, int]]:
        """Update the slot table. Return the addresses at which no primary answers."""
        seen = await self._nodes.survey()
        if (seen, self._table) != self._planned:
            self._table = plan_slots(self._table, seen)
            self._planned = (seen, self._table)
        serving = self._table.of(self._state_slot)
        if self._server is not None and (
            serving is None or serving.node.identity != self._server.identity
        ):
            raise RedisLost("another node serves the slot of neverstale:state now")
        return {(one.host, one.port) for one in seen if one.identity is None}

    def _saved(self, state: LeaderState) -> dict[str, str]:
        own = {"redis": state.redis, "slots": self._table.to_json()}
        return {**super()._saved(state), **own}

    async def save(
        self, state: LeaderState, *, tick_lag_ms: int | None, database_at: int | None = None
    ) -> str | None:
        """Save the state with the slot table, and tick if that is new."""
        version = self._table.version
        if version != self._saved_version and tick_lag_ms is None:
            tick_lag_ms = 0
        stored = await super().save(state, tick_lag_ms=tick_lag_ms, database_at=database_at)
        self._saved_version = version
        return stored

    async def publish(self, publication: Publication, state: LeaderState) -> dict[Channel, str]:
        """Publish events of users, then rechecks, then events of projects.

        Each of these is acknowledged by all nodes before the next.
        """
        if self._table.version != self._saved_version:
            await self._save_table(state)
        refused = await self._publish_all(publication.users, state)
        if publication.rechecks:
            await super().publish(Publication({}, publication.rechecks, {}), state)
        return refused | await self._publish_all(publication.projects, state)

    async def _publish_all(self, events: _Events, state: LeaderState) -> dict[Channel, str]:
        refused: dict[Channel, str] = {}
        failed = await self._try(events, state, refused)
        if failed:
            silent = await self._survey()
            # events are only sent under numbers that gateways can know
            await self._save_table(state)
            again = {channel: events[channel] for channel in failed}
            failed = await self._try(again, state, refused, silent)
        if failed:
            slots = {self._slot(channel) for channel in failed}
            nodes = {node for node in failed.values() if node is not None}
            self._table = self._table.without(slots, nodes)
            log.warning(
                "redis nodes take no events, their channels will be reset",
                extra={"slots": len(slots), "nodes": [f"{n.host}:{n.port}" for n in nodes]},
            )
            await self._save_table(state)
        return refused

    async def _save_table(self, state: LeaderState) -> None:
        """Save the table, with a tick, so that gateways follow it."""
        if await self.save(state, tick_lag_ms=0) != state.generation:
            raise RedisLost("the stored state is gone, or another leader wrote it")

    async def _try(
        self,
        events: _Events,
        state: LeaderState,
        refused: dict[Channel, str],
        silent: Collection[tuple[str, int]] = (),
    ) -> dict[Channel, Node | None]:
        """Publish on all nodes at once, except at the *silent* addresses.

        Return the channels whose events may not have arrived, each with its node if that one
        failed altogether. Events of channels that nobody serves are dropped: these will be
        reset.
        """
        by_node: dict[Node, dict[Channel, list[Publishable]]] = {}
        numbers: dict[Channel, int] = {}
        for channel, some in events.items():
            serving = self._table.of(self._slot(channel))
            if serving is not None:
                by_node.setdefault(serving.node, {})[channel] = some
                numbers[channel] = serving.number
        failed: dict[Channel, Node | None] = {}

        async def send(node: Node, own: _Events) -> None:
            generations = {c: f"{state.generation}-{numbers[c]}" for c in own}
            try:
                failed.update(dict.fromkeys(await self._send(node, own, generations, refused)))
            except RedisLost as exc:
                self._scripts.pop(node, None)
                failed.update(dict.fromkeys(own, node))
                log.warning(
                    "redis node lost",
                    extra={"node": f"{node.host}:{node.port}", "reason": str(exc)},
                )

        async with asyncio.TaskGroup() as tasks:
            for node, own in by_node.items():
                if node[:2] in silent:
                    failed.update(dict.fromkeys(own, node))
                else:
                    tasks.create_task(send(node, own))
        return failed

    async def _send(
        self,
        node: Node,
        events: _Events,
        generations: Mapping[Channel, str],
        refused: dict[Channel, str],
    ) -> list[Channel]:
        """Publish on one node. Return the channels that it does not serve, or not now.

        Those whose events it refuses are reset. Raises ``RedisLost``.
        """
        client = self._nodes.client(node.host, node.port)
        moved = []
        for piece in pieces([*events.items()], EVENTS_PER_PIPELINE):
            async with translated_errors(client, NODE_SECONDS):
                script = await self._script(client, node)
                async with client.pipeline(transaction=False) as pipeline:
                    for channel, some in piece:
                        self._queue(pipeline, script, channel, some, generations[channel])
                    answers = await self._execute(pipeline, piece)
                for (channel, _), answer in zip(piece, answers, strict=True):
                    if isinstance(answer, MOVED_ERRORS):
                        moved.append(channel)
                    elif reason := refusal(answer):
                        refused[channel] = reason
                        async with client.pipeline(transaction=False) as pipeline:
                            generation = generations[channel]
                            self._queue_reset(pipeline, script, channel, generation)
                            await execute_reset(pipeline)
        return moved

    async def _script(self, client: Client, node: Node) -> Script:
        if node not in self._scripts:
            self._scripts[node] = await Script.load(client, PUBLISH_LUA)
        return self._scripts[node]

    def _slot(self, channel: Channel) -> int:
        return slot_of(self._names.channel(channel))

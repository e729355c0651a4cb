"""Which connection each channel is subscribed on, and when it is lost."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from gateway.delivery.cluster_channels import ClusterChannels
from gateway.delivery.pubsub import OnMoved, PubSub
from gateway.delivery.shard_links import ShardLinks
from shared.links.redis_cluster import ClusterNodes
from shared.links.redis_link import RedisLost
from shared.links.redis_server import RedisServer
from shared.links.redis_url import RedisUrl, parse_redis_url
from shared.protocol.channels import Channel, RedisNames
from shared.protocol.slots import SLOT_COUNT, Node, Serving, SlotRange, SlotTable, slot_of

P, Q = "{project:p}", "{project:q}"
A, B = Node("a", 1, "a.r"), Node("b", 1, "b.r")


class FakePubSub:
    """A connection that records commands, and ends on demand."""

    def __init__(self, target: RedisUrl, on_moved: OnMoved) -> None:
        self.server = RedisServer(target.host, "r", is_primary=True)
        self.on_moved = on_moved
        self.subscribed: set[str] = set()
        self.end = asyncio.Event()
        self.checked = asyncio.Event()

    def subscribe(self, names: Sequence[str]) -> None:
        self.subscribed.update(names)

    def unsubscribe(self, names: Sequence[str]) -> None:
        self.subscribed.difference_update(names)

    def abort(self) -> None:
        self.end.set()

    async def check(self) -> None:
        await asyncio.sleep(0)
        self.checked.set()
        if self.end.is_set():
            raise RedisLost("ended")


class Stage:
    """Links to fake nodes, with what was lost."""

    def __init__(self) -> None:
        self.lost: list[str] = []
        self.connections: dict[str, FakePubSub] = {}
        self.links = ShardLinks(
            ClusterNodes(parse_redis_url("redis://seed")),
            ClusterChannels(RedisNames(is_cluster=True)),
        )

    async def connect(
        self, target: RedisUrl, _messages: Any, _acknowledged: Any, on_moved: OnMoved
    ) -> FakePubSub:
        made = self.connections[target.host] = FakePubSub(target, on_moved)
        return made

    async def run(self) -> None:
        await self.links.run(
            lambda _: None,
            lambda _: None,
            lambda names: self.lost.extend(sorted(name.decode() for name in names)),
        )

    async def subscribed(self, host: str, *names: str) -> None:
        """Wait until these are subscribed on a node."""
        async with asyncio.timeout(10):
            while host not in self.connections or self.connections[host].subscribed != {*names}:
                await asyncio.sleep(0)


def table(version: int, *, of_p: Node | None = A, number: int = 1) -> SlotTable:
    """Node A serves all slots, but that of P is served as given."""
    slot = slot_of(P)
    ranges = [
        SlotRange(0, slot - 1, Serving(A, 1)),
        SlotRange(slot + 1, SLOT_COUNT - 1, Serving(A, 1)),
    ]
    if of_p is not None:
        ranges.insert(1, SlotRange(slot, slot, Serving(of_p, number)))
    return SlotTable(version, tuple(ranges))


@pytest.fixture
async def stage(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    made = Stage()
    monkeypatch.setattr(PubSub, "connect", made.connect)
    running = asyncio.create_task(made.run())
    await asyncio.sleep(0)
    made.links.apply(table(1))
    made.links.subscribe([P, Q])
    await made.subscribed("a", P, Q)
    yield made
    running.cancel()


async def test_channels_are_subscribed_on_the_node_that_serves_them(stage: Stage) -> None:
    stage.links.unsubscribe([Q])
    assert stage.connections["a"].subscribed == {P}
    assert stage.lost == []


async def test_a_moved_slot_is_lost_and_subscribed_elsewhere(stage: Stage) -> None:
    stage.links.apply(table(2, of_p=B, number=2))
    assert stage.lost == [P]
    assert stage.connections["a"].subscribed == {Q}
    await stage.subscribed("b", P)
    stage.links.apply(table(3, number=3))
    await stage.subscribed("a", P, Q)


async def test_a_slot_that_nobody_serves_waits(stage: Stage) -> None:
    stage.links.apply(table(2, of_p=None))
    assert stage.lost == [P]
    stage.links.apply(table(3, number=3))
    assert stage.lost == [P, P]  # it has another generation now
    await stage.subscribed("a", P, Q)


async def test_a_failed_read_loses_its_node_at_once(stage: Stage) -> None:
    """The batch has no page of its channels: they must be lost before it is delivered."""
    stage.links.abort_node(A)
    assert stage.lost == [P, Q]
    first = stage.connections.pop("a")
    await stage.subscribed("a", P, Q)
    assert stage.connections["a"] is not first
    assert stage.lost == [P, Q]


@pytest.mark.parametrize("moved", [slot_of(P), P.encode()])
async def test_what_the_node_does_not_serve_is_lost_and_tried_again(
    stage: Stage, moved: int | bytes
) -> None:
    connection = stage.connections["a"]
    connection.subscribed.discard(P)
    connection.on_moved(moved)
    assert stage.lost == [P]
    await stage.subscribed("a", P, Q)
    connection.on_moved(b"{project:other}")
    assert stage.lost == [P]


async def test_a_log_that_the_node_does_not_serve_is_read_again_later(stage: Stage) -> None:
    stage.links.lose_channel(Channel("project", "p"))
    assert stage.lost == [P]
    assert stage.connections["a"].subscribed == {Q}
    await stage.subscribed("a", P, Q)


async def test_another_server_at_the_address_is_not_used(stage: Stage) -> None:
    other = Node("c", 1, "expected.r")
    stage.links.apply(table(2, of_p=other, number=2))
    async with asyncio.timeout(10):
        while "c" not in stage.connections:
            await asyncio.sleep(0)
    await asyncio.wait_for(stage.connections["c"].end.wait(), 10)
    assert stage.connections["c"].subscribed == set()


async def test_only_nodes_whose_connection_is_open_count_as_linked(stage: Stage) -> None:
    assert stage.links.linked_nodes == ["a:1"]
    stage.connections.pop("a").end.set()
    async with asyncio.timeout(10):
        while stage.links.linked_nodes:
            await asyncio.sleep(0)
    await stage.subscribed("a", P, Q)
    assert stage.links.linked_nodes == ["a:1"]

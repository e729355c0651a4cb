"""Schedules of a cluster that random ones rarely reach, each with its steps varied."""

from collections.abc import Iterator
from itertools import product

import pytest

from tests.simulation.world import GATEWAYS, LISTENERS, World, key_of

LEADER = LISTENERS[0]
KEYS = ("project:b", "project:a", "state")  # on the other node than the state, and on its node


def worlds(*steps: range) -> Iterator[tuple[World, tuple[int, ...]]]:
    """Yield a world at rest for each combination of the numbers."""
    for numbers in product(*steps):
        world = World(is_cluster=True)
        try:
            world.come_to_rest()
            yield world, numbers
        finally:
            world.close()


def gateways_work(world: World) -> None:
    for name in GATEWAYS:
        world.work(name)


@pytest.mark.parametrize("key", KEYS)
def test_a_replaced_primary_goes_on_taking_writes(key: str) -> None:
    """Gateways may be on the new one before the leader is, or after."""
    for world, (before, between) in worlds(range(1, 12, 4), range(0, 24, 8)):
        cluster = world.servers.cluster
        assert cluster is not None
        world.save_redis()
        world.write(("row", "a", "a1"))
        world.write(("row", "b", "b1"))
        world.listen(LEADER, before)
        cluster.take_over(key_of(key), knows=False)
        world.write(("row", "a", "a2"))
        world.write(("row", "b", "b2"))
        world.cut(GATEWAYS[0], loses=True)
        world.loop.advance(0.2)
        gateways_work(world)
        world.listen(LEADER, between)
        gateways_work(world)
        for browser in world.browsers:
            world.browse(browser, None)
        cluster.learn()
        world.come_to_rest()


@pytest.mark.parametrize("key", KEYS[:2])
def test_a_node_that_takes_no_events_gets_another_number(key: str) -> None:
    for world, (before, between) in worlds(range(1, 12, 5), range(4, 40, 18)):
        world.write(("row", "a", "a1"))
        world.write(("row", "b", "b1"))
        world.listen(LEADER, before)
        world.servers.redis_of(key).be_silent()
        world.write(("row", "a", "a2"))
        world.write(("row", "b", "b2"))
        world.listen(LEADER, between)
        gateways_work(world)
        world.answer_again()
        gateways_work(world)
        world.come_to_rest()


@pytest.mark.parametrize("key", KEYS[:2])
def test_a_slot_is_moved_between_any_two_steps(key: str) -> None:
    for world, (before, between) in worlds(range(1, 12, 4), range(0, 16, 8)):
        cluster = world.servers.cluster
        assert cluster is not None
        world.write(("row", "a", "a1"))
        world.write(("row", "b", "b1"))
        world.listen(LEADER, before)
        cluster.move_slot(key_of(key))
        gateways_work(world)
        world.write(("row", "a", "a2"))
        world.write(("row", "b", "b2"))
        world.listen(LEADER, between)
        gateways_work(world)
        world.come_to_rest()


def test_access_that_is_lost_while_the_node_of_the_state_is_replaced() -> None:
    for world, (before, between) in worlds(range(1, 12, 4), range(0, 24, 8)):
        cluster = world.servers.cluster
        assert cluster is not None
        world.save_redis()
        world.write(("remove", "b", "u"))
        world.listen(LEADER, before)
        cluster.take_over(key_of("state"), knows=False)
        world.write(("row", "b", "b1"))
        world.listen(LEADER, between)
        gateways_work(world)
        cluster.learn()
        world.come_to_rest()

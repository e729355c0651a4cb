"""Schedules that chance meets seldom: found by thought, each with the places varied."""

from collections.abc import Iterator
from itertools import product

import pytest

from tests.simulation.world import GATEWAYS, LISTENERS, World

OLD, NEW = LISTENERS


@pytest.fixture
def worlds() -> Iterator["Worlds"]:
    made = Worlds()
    yield made
    made.close()


class Worlds:
    """One world after the other, each at rest."""

    def __init__(self) -> None:
        self._world: World | None = None

    def next(self) -> World:
        self.close()
        self._world = World()
        self._world.come_to_rest()
        return self._world

    def close(self) -> None:
        if self._world is not None:
            self._world.close()
        self._world = None


@pytest.mark.parametrize("is_state_lost", [True, False])
def test_an_old_leaders_late_steps(worlds: Worlds, is_state_lost: bool) -> None:
    """It is frozen anywhere, and goes on once its successor is somewhere."""
    for before, between, late in product(range(1, 10, 2), range(2, 16, 2), (1, 3)):
        world = worlds.next()
        world.write(("row", "a", "a1"))
        world.listen(OLD, before)
        world.end_session()
        if is_state_lost:
            world.redis.evict("state")
        world.write(("row", "a", "a2"))
        world.listen(NEW, between)
        world.listen(OLD, late)
        world.kill_listener(NEW)
        world.notice()
        world.come_to_rest()


@pytest.mark.parametrize("lasts", [1, 4, 8])
def test_who_comes_while_a_change_is_published(worlds: Worlds, lasts: int) -> None:
    """A page is opened anywhere between a change and its last frame, and reads step by step."""
    for before, between in product(range(10), (0, 2, 5)):
        world = worlds.next()
        browser = world.browsers[1]
        world.leave(browser)
        world.write(("row", "a", "a1"))
        world.listen(OLD, before)
        world.connect(browser, GATEWAYS[0])
        for _ in range(between):
            if not world.deliver(GATEWAYS[0]) and not world.answer(GATEWAYS[0]):
                world.take(GATEWAYS[0])
        world.write(("row", "a", "a2"))
        world.listen(OLD, lasts)
        world.work(GATEWAYS[0])
        world.come_to_rest()


def test_a_user_comes_and_goes_while_access_is_asked(worlds: Worlds) -> None:
    """Who lost the project hears no more, wherever the question was when it happened."""
    for before, between, steps in product(range(5), range(5), (3, 9)):
        world = worlds.next()
        browser = world.browsers[1]
        world.leave(browser)
        world.loop.advance(6.0)  # what was remembered of it is old
        world.lull()
        world.connect(browser, GATEWAYS[0])
        for _ in range(before):
            world.answer(GATEWAYS[0])
        world.write(("remove", "a", "w"))
        world.listen(OLD, 9)
        for _ in range(between):
            if not world.deliver(GATEWAYS[0], 9):
                world.answer(GATEWAYS[0])
        world.write(("row", "a", "a1"))
        world.listen(OLD, steps)
        world.deliver(GATEWAYS[0], 9)
        world.work(GATEWAYS[0])
        world.come_to_rest()


@pytest.mark.parametrize("loses", [True, False])
def test_a_loss_that_a_gateway_did_not_hear_of(worlds: Worlds, loses: bool) -> None:
    """Its link is cut while a user loses the project, and what follows is in the log."""
    for before, has_another in product(range(0, 10, 3), (True, False)):
        world = worlds.next()
        world.write(("remove", "a", "w"))
        world.listen(OLD, before)
        for name in GATEWAYS:
            world.cut(name, loses=loses)
        world.listen(OLD, 12)
        world.write(("row", "a", "a1"))
        if has_another:
            world.write(("add", "a", "w"))
        world.listen(OLD, 12)
        for _ in range(3):
            world.lull()
        world.come_to_rest()


@pytest.mark.parametrize("cuts", [True, False])
def test_a_redis_that_comes_back_older(worlds: Worlds, cuts: bool) -> None:
    """The same log with other rows; a browser was away with a cursor of the future."""
    for before, has_left in product(range(0, 12, 2), (True, False)):
        world = worlds.next()
        world.redis.save()
        world.write(("row", "a", "a1"))
        world.lull()
        world.write(("row", "a", "a2"))
        world.listen(OLD, before)
        if has_left:
            world.leave(world.browsers[1])
        world.redis.go_back(cuts=cuts, loses=True)
        world.write(("row", "a", "a3"))
        world.come_to_rest()


@pytest.mark.parametrize("age", [0.5, 3.0, 8.0])
def test_a_page_whose_age_is_told(worlds: Worlds, age: float) -> None:
    """What was changed since it was loaded is told, through a reset and an evicted log too."""
    for seconds, fault in product((6, 9), ("", "evict", "crash database", "clock back")):
        world = worlds.next()
        for _ in range(seconds * 3):
            world.lull()
        browser = world.browsers[1]
        browser.load(world.now)
        world.loop.settle()
        world.write(("row", "a", "a1"))
        if fault:
            world.fail(fault, listener=OLD, gateway=GATEWAYS[0], key="project:a", loses=False)
        for _ in range(int(age * 3)):
            world.lull()
        world.come_to_rest()


def test_what_skipped_the_log_is_reset_when_it_has_ended(worlds: Worlds) -> None:
    """However long it takes, and whoever leads by then."""
    for before, has_successor in product(range(0, 8, 2), (True, False)):
        world = worlds.next()
        world.database.skip(is_disabled=False)
        world.database.begin(("row", "a", "a1"))
        world.listen(OLD, before)
        world.lull()
        world.database.log_again()
        for _ in range(8):
            world.lull()
        if has_successor:
            world.redis.evict("state")
            world.kill_listener(OLD)
        for _ in range(4):
            world.lull()
        world.end(0, commits=True)
        world.come_to_rest()


def test_a_log_made_anew_behind_a_clock_that_was_set_back(worlds: Worlds) -> None:
    """Its places are around those of the log before it: only the epoch tells them apart."""
    for before, has_left in product(range(0, 12, 3), (True, False)):
        world = worlds.next()
        if has_left:
            world.leave(world.browsers[1])
        world.write(("row", "a", "a1"))
        world.listen(OLD, before)
        world.lull()
        world.redis.evict("project:a")
        world.redis.set_back(3_000_000)
        world.write(("row", "a", "a2"))
        for _ in range(14):
            world.lull()
        world.write(("row", "a", "a3"))
        world.lull()
        world.come_to_rest()


def test_a_project_that_was_given_while_the_link_was_lost(worlds: Worlds) -> None:
    """Only the user's own channel tells of it, and its place is caught up from."""
    for before, loses in product(range(0, 10, 3), (True, False)):
        world = worlds.next()
        world.write(("remove", "a", "w"))
        world.come_to_rest()
        world.write(("add", "a", "w"))
        world.listen(OLD, before)
        for name in GATEWAYS:
            world.cut(name, loses=loses)
        world.listen(OLD, 12)
        world.come_to_rest()


def test_a_generation_that_somebody_else_stored(worlds: Worlds) -> None:
    """Whoever leads adopts it, tells of it, and goes on saving."""
    for before in range(0, 12, 3):
        world = worlds.next()
        world.write(("row", "a", "a1"))
        world.listen(OLD, before)
        world.redis.store.state[b"generation"] = b"another"
        for _ in range(4):
            world.lull()
        world.come_to_rest()
        saved = world.redis.store.state[b"cursor"]
        world.write(("row", "a", "a2"))
        world.come_to_rest()
        assert world.redis.store.state[b"cursor"] != saved


@pytest.mark.parametrize("fault", ["evict", "log full", "crash database"])
def test_a_change_right_after_a_reset(worlds: Worlds, fault: str) -> None:
    """The reset is told and everything fetched anew; the leader is wherever it is by then."""
    for before in range(12, 32):
        world = worlds.next()
        world.fail(fault, listener=OLD, gateway=GATEWAYS[0], key="state", loses=False)
        world.notice()
        world.database.log_again()
        world.loop.advance(1.0)
        world.listen(OLD, before)
        for name in GATEWAYS:
            world.work(name)
        for browser in world.browsers:
            world.browse(browser, None)
        world.write(("row", "a", "a1"))
        world.come_to_rest()


@pytest.mark.parametrize("count", range(4, 10))
def test_more_rows_than_a_read_brings(worlds: Worlds, count: int) -> None:
    """What a read can't bring is not left out: it is a reset."""
    for last in (("row", "b", "b1"), ("row", "a", "a2"), ("add", "b", "w")):
        world = worlds.next()
        for _ in range(count):
            world.write(("row", "a", "a1"))
        world.write(last)
        world.come_to_rest()

"""Schedules that random ones rarely reach, each with its steps varied."""

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
    """Yields one world after the other, each at rest."""

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
    """A leader is frozen at any step, and thawed at any step of its successor."""
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
def test_a_page_opened_while_a_change_is_published(worlds: Worlds, lasts: int) -> None:
    """A page is opened at any step between a change and its last frame."""
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


def test_a_user_loses_and_regains_access_during_an_access_check(worlds: Worlds) -> None:
    """A user who lost the project gets no more events, at any step of an access check."""
    for before, between, steps in product(range(5), range(5), (3, 9)):
        world = worlds.next()
        browser = world.browsers[1]
        world.leave(browser)
        world.loop.advance(6.0)  # the cached answer is old
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
def test_a_loss_of_access_while_a_gateways_link_is_cut(worlds: Worlds, loses: bool) -> None:
    """The link is cut while a user loses the project; later changes are in the log."""
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
    """The same log has other rows; a browser returns with a cursor from the future."""
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
def test_a_page_that_resumes_by_its_age(worlds: Worlds, age: float) -> None:
    """It gets what changed since it was loaded, even after a reset or an evicted log."""
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


def test_a_transaction_that_skipped_the_log_causes_a_reset_at_its_end(worlds: Worlds) -> None:
    """However long it takes, and whichever listener leads by then."""
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


def test_a_log_recreated_after_the_clock_was_set_back(worlds: Worlds) -> None:
    """Its offsets overlap those of the former log; only the epoch distinguishes them."""
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


def test_a_project_gained_while_the_link_was_lost(worlds: Worlds) -> None:
    """Only the user's own channel announces it; the client catches up from its cursor."""
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


def test_a_generation_that_another_writer_stored(worlds: Worlds) -> None:
    """The leader adopts it, publishes a reset, and still saves its state."""
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
    """A change at any step after a reset is received, however far the leader is."""
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
def test_more_rows_than_one_read_returns(worlds: Worlds, count: int) -> None:
    """Rows beyond the limit of a read are not dropped but cause a reset."""
    for last in (("row", "b", "b1"), ("row", "a", "a2"), ("add", "b", "w")):
        world = worlds.next()
        for _ in range(count):
            world.write(("row", "a", "a1"))
        world.write(last)
        world.come_to_rest()

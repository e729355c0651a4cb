"""Each fault at each step of one busy run, so that rare combinations are always tested."""

from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

import pytest

from tests.simulation.database import Change
from tests.simulation.world import FAULTS, GATEWAYS, LISTENERS, World

Step: TypeAlias = Callable[[World], object]


def _write(*change: str) -> Step:
    kind, project, of = change
    written: Change = (kind, project, of)
    return lambda world: world.write(written)


def _begin(row: str) -> Step:
    return lambda world: world.database.begin(("row", row[0], row))


def _commit(world: World) -> None:
    world.end(0, commits=True)


def _leads(world: World) -> None:
    for name in LISTENERS:
        world.listen(name)


def _other_leads(world: World) -> None:
    world.listen(LISTENERS[1])


def _first_leads(world: World) -> None:
    world.listen(LISTENERS[0])


def _gateways_step(world: World) -> None:
    for name in GATEWAYS:
        if not world.deliver(name, 1) and not world.answer(name):
            world.take(name)


def _gateways_work(world: World) -> None:
    for name in GATEWAYS:
        world.work(name)


def _read(world: World) -> None:
    for browser in world.browsers:
        world.read(browser)


def _fetch(world: World) -> None:
    for browser in world.browsers:
        browser.fetched(0)
        browser.fetch(0, world.now)


def _move(number: int, gateway: int) -> Step:
    """Close a browser's page and open it again at a gateway."""

    def move(world: World) -> None:
        world.leave(world.browsers[number])
        world.connect(world.browsers[number], GATEWAYS[gateway])

    return move


def _slow(number: int) -> Step:
    return lambda world: world.browsers[number].be_slow()


def _browse(world: World) -> None:
    for browser in world.browsers:
        world.browse(browser, None)


def _save(world: World) -> None:
    world.redis.save()
    world.database.save()


BUSY: Final[Sequence[Step]] = (
    _begin("a1"),
    _begin("b1"),
    _write("row", "a", "a2"),
    _save,
    *[_first_leads] * 9,
    *[_gateways_step] * 2,
    _commit,
    _move(1, 0),
    *[_gateways_step] * 3,
    _read,
    *[_leads] * 7,
    *[_gateways_step] * 4,
    _read,
    _fetch,
    _commit,
    _slow(2),
    _write("remove", "a", "u"),
    _write("row", "a", "a1"),
    *[_first_leads] * 8,
    *[_gateways_step] * 6,
    *[_other_leads] * 4,
    _move(0, 1),
    *[_gateways_step] * 6,
    _read,
    _fetch,
    _write("bulk", "a", ""),
    _write("add", "a", "u"),
    *[_leads] * 10,
    _move(1, 1),
    *[_gateways_step] * 5,
    _browse,
    _write("row", "a", "a3"),
    _write("row", "a", "a1"),
    *[_first_leads] * 7,
    _gateways_work,
    _read,
)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_at_each_step(fault: str) -> None:
    for place in range(len(BUSY)):
        world = World()
        try:
            world.come_to_rest()
            for number, step in enumerate(BUSY):
                if number == place:
                    hits = number % 2
                    keys = ("project:a", "state", "user:u", "project:b")
                    world.fail(
                        fault,
                        listener=LISTENERS[0],
                        gateway=GATEWAYS[hits],
                        key=keys[number % 4],
                        loses=hits == 0,
                    )
                step(world)
                world.check_running()
            world.come_to_rest()
        except AssertionError as exc:
            raise AssertionError(f"{fault} at place {place}: {exc}") from exc
        finally:
            world.close()

"""What surrounds a service: the pauses of the garbage collector, and its tasks."""

import asyncio
import gc
from collections.abc import Iterator

import pytest

from shared.runtime import lifecycle


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)


@pytest.mark.parametrize(("seconds", "is_frozen"), [(0.0, True), (1e9, False)])
def test_what_survives_a_long_full_collection_is_passed_over_later(
    monkeypatch: pytest.MonkeyPatch, seconds: float, is_frozen: bool
) -> None:
    monkeypatch.setattr(lifecycle, "FREEZE_SECONDS", seconds)
    with lifecycle.bounded_collections():
        kept: list[list[None]] = [[] for _ in range(1000)]
        gc.collect(0)
        assert any(each is kept for each in gc.get_objects()), "a young collection froze it"
        gc.collect()
        assert any(each is kept for each in gc.get_objects()) != is_frozen
    gc.unfreeze()
    gc.collect()
    assert any(each is kept for each in gc.get_objects()), "no longer"


async def test_tasks_end_with_the_body_that_they_serve() -> None:
    async with asyncio.timeout(10):
        async with lifecycle.tasks_of_body() as tasks:
            task = tasks.create_task(asyncio.Event().wait())
            await asyncio.sleep(0)
    assert task.cancelled()


async def test_an_error_of_a_task_ends_the_body() -> None:
    async def fail() -> None:
        raise LookupError

    async def serve() -> None:
        async with lifecycle.tasks_of_body() as tasks:
            tasks.create_task(fail())
            await asyncio.Event().wait()

    with pytest.raises(ExceptionGroup) as raised:
        await serve()
    assert lifecycle.leaf_exceptions(raised.value)[0].__class__ is LookupError

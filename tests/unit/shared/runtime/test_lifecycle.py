"""The garbage collector's pauses while a service runs."""

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

import asyncio
import gc
import time

import pytest
from prometheus_client import CollectorRegistry

from shared.runtime import process_metrics
from shared.runtime.process_metrics import ProcessMetrics


async def test_a_blocked_loop_and_collections_are_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(process_metrics, "SAMPLE_SECONDS", 0.01)
    registry = CollectorRegistry()
    callbacks = list(gc.callbacks)
    running = asyncio.create_task(ProcessMetrics(registry).run())

    def value(name: str) -> float:
        return registry.get_sample_value(name) or 0.0

    async with asyncio.timeout(20):
        while not value("neverstale_event_loop_lag_seconds_count"):
            await asyncio.sleep(0.001)
        before = value("neverstale_event_loop_lag_seconds_sum")
        time.sleep(0.2)  # noqa: ASYNC251 blocks the loop on purpose
        gc.collect()
        while value("neverstale_event_loop_lag_seconds_sum") < before + 0.15:
            await asyncio.sleep(0.001)
    assert value("neverstale_gc_pause_seconds_count") >= 1
    assert value("neverstale_gc_pause_seconds_sum") > 0
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert gc.callbacks == callbacks

"""Metrics of the process itself: its event loop, garbage collector, memory and files."""

import asyncio
import gc
import time
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector

from shared.runtime.durations import DurationHistogram

SAMPLE_SECONDS: Final = 0.1


class ProcessMetrics:
    """Measures how late the event loop runs, and how long it stands still for collections.

    The ``process_...`` metrics of the Prometheus conventions exist on Linux alone.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        ProcessCollector(registry=registry)
        self._lag = DurationHistogram(
            "neverstale_event_loop_lag_seconds",
            "How much later than due the event loop ran, ten times a second",
            registry,
        )
        self._pauses = DurationHistogram(
            "neverstale_gc_pause_seconds",
            "Collections of the garbage collector, during which the event loop stands still",
            registry,
        )

    async def run(self) -> None:
        """Never returns."""
        started = 0.0

        def observe(phase: str, _: dict[str, int]) -> None:
            nonlocal started
            if phase == "start":
                started = time.perf_counter()
            else:
                self._pauses.observe(time.perf_counter() - started)

        gc.callbacks.append(observe)
        try:
            while True:
                before = time.perf_counter()
                await asyncio.sleep(SAMPLE_SECONDS)
                self._lag.observe(time.perf_counter() - before - SAMPLE_SECONDS)
        finally:
            gc.callbacks.remove(observe)

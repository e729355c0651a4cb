"""Histograms of durations, cheap enough for what happens with every message."""

from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

BUCKETS: Final = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
    *(30.0, 60.0, 300.0),
)


class DurationHistogram(Collector):
    """Counts durations in seconds by bucket, in plain integers.

    A ``Histogram`` takes a lock and several microseconds for each observation. Only the event
    loop's thread may observe and collect.
    """

    def __init__(self, name: str, documentation: str, registry: CollectorRegistry) -> None:
        self._name = name
        self._documentation = documentation
        self._counts = [0] * (len(BUCKETS) + 1)
        self._sum = 0.0
        registry.register(self)

    def observe(self, seconds: float, count: int = 1) -> None:
        """Count a duration, *count* times; a negative one, of clocks that differ, as none."""
        seconds = max(seconds, 0.0)
        self._counts[bisect_left(BUCKETS, seconds)] += count
        self._sum += seconds * count

    def collect(self) -> Iterator[HistogramMetricFamily]:
        bounds = [*map(floatToGoString, BUCKETS), "+Inf"]
        buckets = list(zip(bounds, accumulate(self._counts), strict=True))
        yield HistogramMetricFamily(
            self._name, self._documentation, buckets=buckets, sum_value=self._sum
        )

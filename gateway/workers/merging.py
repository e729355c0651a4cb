"""Makes one answer of what each worker says of itself."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import isnan
from typing import Any, Final

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

_CREATED: Final = "_created"  # the suffix of the time since which a metric counts
# The samples that are no counts.
_MERGES: Final[Mapping[str, Callable[[float, float], float]]] = {
    "neverstale_keys_degraded": max,
    "neverstale_live": min,
    "neverstale_redis_linked": min,
    "neverstale_redis_output_buffer_bytes": max,
    "neverstale_tick_age_seconds": max,
    "process_max_fds": min,
    "process_start_time_seconds": min,
}


def merge_metrics(texts: Sequence[str]) -> bytes:
    """Add up the metrics of all workers, in Prometheus's text format.

    Counters, histograms and numbers of things can be added up. Of the times since which they
    count the earliest is kept; of a state, an age or a limit that of the worst worker.
    """
    registry = CollectorRegistry()
    registry.register(_Sums(texts))
    return generate_latest(registry)


class _Sums(Collector):
    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts

    def collect(self) -> Iterator[Metric]:
        families: dict[str, Metric] = {}
        sums: dict[tuple[str, tuple[tuple[str, str], ...]], tuple[Metric, float]] = {}
        for text in self._texts:
            for family in text_string_to_metric_families(text):
                kept = families.setdefault(
                    family.name, Metric(family.name, family.documentation, family.type)
                )
                for sample in family.samples:
                    key = (sample.name, tuple(sorted(sample.labels.items())))
                    _, before = sums.get(key, (kept, None))
                    sums[key] = (kept, _merge(sample.name, before, sample.value))
        for (name, labels), (family, value) in sums.items():
            family.add_sample(name, dict(labels), value)
        yield from families.values()


def _merge(name: str, before: float | None, value: float) -> float:
    if before is None or isnan(before):
        return value
    if isnan(value):
        return before
    if name.endswith(_CREATED):
        return min(before, value)
    merge = _MERGES.get(name)
    return before + value if merge is None else merge(before, value)


def merge_readiness(
    own: Mapping[str, Any], others: Sequence[Mapping[str, Any] | None]
) -> tuple[bool, dict[str, Any]]:
    """Whether the workers together may take traffic, and the fields of ``/readyz``.

    A worker that does not answer is being restarted: its connections wait, or go to others.
    So it only degrades the gateway, while one that says "not ready" would refuse its share.
    """
    answers = [own, *(other for other in others if other is not None)]
    degraded = {name: None for answer in answers for name in answer["degraded"]}
    if len(answers) <= len(others):
        degraded["workers"] = None
    ready = [answer for answer in answers if answer["status"] == "ready"]
    return len(ready) == len(answers), {
        "redis": all(answer["redis"] for answer in answers),
        "keys": _worst(answer["keys"] for answer in answers),
        "draining": any(answer["draining"] for answer in answers),
        "degraded": list(degraded),
        "workers": {"ready": len(ready), "of": 1 + len(others)},
    }


def _worst(states: Iterator[str]) -> str:
    order = ("missing", "degraded")
    return min(states, key=lambda state: order.index(state) if state in order else len(order))

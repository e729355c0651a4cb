"""Reads back what Prometheus counters have counted."""

from prometheus_client import Counter


def count_of(counter: Counter) -> float:
    """Return the value of a counter, added up over its labels."""
    return sum(counts_by_label(counter).values())


def counts_by_label(counter: Counter) -> dict[str, float]:
    """Return the values of a counter by their only label."""
    return {
        next(iter(sample.labels.values()), ""): sample.value
        for metric in counter.collect()
        for sample in metric.samples
        if sample.name.endswith("_total")
    }

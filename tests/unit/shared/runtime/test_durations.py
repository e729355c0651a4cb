from prometheus_client import CollectorRegistry, generate_latest

from shared.runtime.durations import DurationHistogram


def test_durations_are_counted_in_their_buckets_and_those_above() -> None:
    registry = CollectorRegistry()
    histogram = DurationHistogram("waits_seconds", "Waits", registry)
    histogram.observe(0.001)
    histogram.observe(0.002, 3)
    histogram.observe(1000)

    def bucket(bound: str) -> float | None:
        return registry.get_sample_value("waits_seconds_bucket", {"le": bound})

    found = [bucket(bound) for bound in ("0.0005", "0.001", "0.0025", "300.0", "+Inf")]
    assert found == [0, 1, 4, 4, 5]
    assert registry.get_sample_value("waits_seconds_count") == 5
    assert registry.get_sample_value("waits_seconds_sum") == 1000.007
    assert b"# TYPE waits_seconds histogram" in generate_latest(registry)


def test_a_negative_duration_of_clocks_that_differ_counts_as_none() -> None:
    registry = CollectorRegistry()
    DurationHistogram("waits_seconds", "Waits", registry).observe(-1)
    assert registry.get_sample_value("waits_seconds_bucket", {"le": "0.0005"}) == 1
    assert registry.get_sample_value("waits_seconds_sum") == 0

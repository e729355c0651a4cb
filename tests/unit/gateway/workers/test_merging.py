from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from gateway.workers.merging import merge_metrics, merge_readiness

READY = {"status": "ready", "redis": True, "keys": "ok", "draining": False, "degraded": []}


def rendered(refusals: int, sockets: int, seconds: float) -> str:
    registry = CollectorRegistry()
    refused = Counter("refused", "Refusals", ["code"], registry=registry)
    refused.labels("full").inc(refusals)
    Gauge("sockets", "Open sockets", registry=registry).set(sockets)
    Histogram("wait_seconds", "Waits", buckets=[1, 5], registry=registry).observe(seconds)
    return generate_latest(registry).decode()


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_counters_gauges_and_histograms_are_added_up() -> None:
    one, two = rendered(1, 10, 0.5), rendered(2, 20, 3)
    merged = merge_metrics([one, two]).decode()
    found = samples(merged)
    assert found["refused_total", (("code", "full"),)] == 3
    assert found["sockets", ()] == 30
    assert found["wait_seconds_bucket", (("le", "1.0"),)] == 1
    assert found["wait_seconds_bucket", (("le", "5.0"),)] == 2
    assert found["wait_seconds_count", ()] == 2
    assert found["wait_seconds_sum", ()] == 3.5
    created = ("refused_created", (("code", "full"),))
    assert found[created] == min(samples(one)[created], samples(two)[created])
    for line in ("# HELP refused_total Refusals", "# TYPE refused_total counter"):
        assert line in merged


def test_what_only_one_worker_has_is_kept() -> None:
    registry = CollectorRegistry()
    Gauge("only_here", "Something", registry=registry).set(7)
    merged = merge_metrics([generate_latest(registry).decode(), rendered(1, 1, 1)])
    assert samples(merged.decode())["only_here", ()] == 7


def merged(own: dict[str, Any], *others: dict[str, Any] | None) -> tuple[bool, dict[str, Any]]:
    return merge_readiness(
        {**READY, **own}, [None if other is None else {**READY, **other} for other in others]
    )


def test_workers_that_are_all_ready_are_ready() -> None:
    is_ready, body = merged({}, {})
    assert is_ready
    assert body == {
        "redis": True,
        "keys": "ok",
        "draining": False,
        "degraded": [],
        "workers": {"ready": 2, "of": 2},
    }


def test_a_worker_that_is_not_ready_would_refuse_its_share() -> None:
    is_ready, body = merged({}, {"status": "not ready", "redis": False})
    assert not is_ready
    assert not body["redis"]
    assert body["workers"] == {"ready": 1, "of": 2}


def test_a_worker_that_is_being_replaced_only_degrades() -> None:
    is_ready, body = merged({}, None)
    assert is_ready
    assert body["degraded"] == ["workers"]
    assert body["workers"] == {"ready": 1, "of": 2}


def test_the_worst_state_counts() -> None:
    _, body = merged({"keys": "degraded", "degraded": ["keys"]}, {"degraded": ["listener"]})
    assert body["keys"] == "degraded"
    assert body["degraded"] == ["keys", "listener"]
    assert merged({}, {"keys": "missing"})[1]["keys"] == "missing"
    assert merged({}, {"draining": True})[1]["draining"]

from math import nan
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from gateway.workers.merging import _MERGES, merge_metrics, merge_readiness
from tests.support.metric_names import metrics_in_code

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


def test_of_a_state_an_age_or_a_limit_the_worst_worker_counts() -> None:
    def worker(live: int, age: float, buffer: float, started: float) -> str:
        registry = CollectorRegistry()
        for name, value in (
            ("neverstale_live", live),
            ("neverstale_tick_age_seconds", age),
            ("neverstale_redis_output_buffer_bytes", buffer),
            ("process_start_time_seconds", started),
        ):
            Gauge(name, name, registry=registry).set(value)
        return generate_latest(registry).decode()

    found = samples(merge_metrics([worker(1, 0.5, nan, 20), worker(0, 7, 3, 10)]).decode())
    assert found["neverstale_live", ()] == 0
    assert found["neverstale_tick_age_seconds", ()] == 7
    assert found["neverstale_redis_output_buffer_bytes", ()] == 3, "the other does not know"
    assert found["process_start_time_seconds", ()] == 10
    back = samples(merge_metrics([worker(0, 7, 3, 10), worker(1, 0.5, nan, 20)]).decode())
    assert back == found


def test_only_metrics_that_exist_have_a_rule_of_their_own() -> None:
    own = {name for name in _MERGES if name.startswith("neverstale_")}
    assert own <= {name.partition("{")[0] for name in metrics_in_code()}

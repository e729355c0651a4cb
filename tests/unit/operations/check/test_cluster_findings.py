"""What is said of each fact of a Redis Cluster, and of sentinels."""

import pytest

from operations.check.cluster_findings import (
    ClusterFacts,
    SentinelFacts,
    find_in_cluster,
    find_in_sentinels,
)
from operations.check.redis_findings import RedisFacts

PRIMARY = {"redis_version": "7.4.1", "run_id": "a", "master_replid": "b", "role": "master"}
PRIMARY |= {"cluster_enabled": "1", "connected_slaves": "1"}
REPLICA = {**PRIMARY, "role": "slave", "connected_slaves": "0"}
FINE = RedisFacts(PRIMARY, {"hgetall": "MovedError: 5"}, full_coverage="no")
READ_ONLY = RedisFacts(REPLICA, {"zadd": "MovedError: 5"}, full_coverage="yes")
NO_RIGHT = {"spublish": "NoPermissionError: no"}


def primary(**info: str) -> RedisFacts:
    return RedisFacts({**PRIMARY, **info})


def test_what_is_documented_has_no_findings() -> None:
    facts = ClusterFacts({"a:1": FINE, "b:1": FINE, "c:1": READ_ONLY})
    assert find_in_cluster(facts) == []
    assert set(facts.primaries) == {"a:1", "b:1"}


@pytest.mark.parametrize(
    ("wrong", "id_", "severity", "text"),
    [
        (ClusterFacts({"a:1": FINE}, unserved=5461), "cluster_slots", "problem", "5461 slots"),
        (
            ClusterFacts({}, {"a:1": "refused"}),
            "cluster_node",
            "problem",
            "a:1 does not answer",
        ),
        (
            ClusterFacts({"a:1": primary(connected_slaves="0"), "b:1": FINE}),
            "no_replica",
            "note",
            "a:1: this primary",
        ),
        (
            ClusterFacts({"a:1": RedisFacts(PRIMARY, full_coverage="yes")}),
            "full_coverage",
            "note",
            "set it to no",
        ),
        (
            ClusterFacts(dict.fromkeys(("a:1", "b:1"), RedisFacts(PRIMARY, NO_RIGHT))),
            "rights",
            "problem",
            "a:1, b:1: the user of REDIS_URL may not use spublish",
        ),
        (
            ClusterFacts({"a:1": FINE, "c:1": RedisFacts(REPLICA, NO_RIGHT)}),
            "rights",
            "problem",
            "c:1: the user",
        ),
        (
            ClusterFacts({"a:1": primary(maxmemory="9", maxmemory_policy="allkeys-lru")}),
            "eviction",
            "note",
            "a:1: maxmemory-policy",
        ),
        (
            ClusterFacts({"a:1": primary(cluster_enabled="0", connected_slaves="0")}),
            "cluster",
            "problem",
            "unset",
        ),
    ],
)
def test_each_fact_of_a_cluster_is_a_finding(
    wrong: ClusterFacts, id_: str, severity: str, text: str
) -> None:
    [found] = find_in_cluster(wrong)
    assert (found.id, found.severity) == (f"redis.{id_}", severity)
    assert text in found.text
    assert found.todo


def test_sentinels_that_agree_have_no_findings() -> None:
    assert find_in_sentinels(SentinelFacts("main", {"s:1": "a:1", "s:2": "a:1"})) == []
    assert find_in_sentinels(SentinelFacts("main", {}, {"s:1": "refused"})) == [], (
        "that Redis is unreachable says it"
    )


@pytest.mark.parametrize(
    ("wrong", "id_", "severity", "text"),
    [
        (SentinelFacts("odd", {"s:1": None}), "sentinel_name", "problem", "named odd"),
        (
            SentinelFacts("main", {"s:1": "a:1", "s:2": "b:1"}),
            "sentinels_differ",
            "problem",
            "s:1 says a:1, s:2 says b:1",
        ),
        (
            SentinelFacts("main", {"s:1": "a:1"}, no_quorum="NOQUORUM 1 usable"),
            "quorum",
            "problem",
            "NOQUORUM 1 usable",
        ),
        (SentinelFacts("main", {"s:1": "a:1"}, {"s:2": "refused"}), "sentinel", "note", "s:2"),
        (SentinelFacts("main", {"s:1": "a:1", "s:2": None}), "sentinel", "note", "named main"),
    ],
)
def test_each_fact_of_sentinels_is_a_finding(
    wrong: SentinelFacts, id_: str, severity: str, text: str
) -> None:
    [found] = find_in_sentinels(wrong)
    assert (found.id, found.severity) == (f"redis.{id_}", severity)
    assert text in found.text
    assert found.todo

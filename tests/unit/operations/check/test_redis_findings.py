"""What is said of each fact of a Redis server."""

from typing import Any

import pytest

from operations.check.redis_findings import RedisFacts, find_in_redis

INFO = {
    "redis_version": "7.4.1",
    "run_id": "a",
    "master_replid": "b",
    "role": "master",
    "cluster_enabled": "0",
    "maxmemory": "0",
    "maxmemory_policy": "noeviction",
}
DEFAULT_BUFFER = "33554432 8388608 60"


def facts(**info: str) -> RedisFacts:
    return RedisFacts({**INFO, **info}, {}, DEFAULT_BUFFER)


@pytest.mark.parametrize(
    "fine",
    [
        facts(),
        RedisFacts(),
        facts(redis_version="7.2.4", valkey_version="7.2.0"),
        facts(maxmemory="1000", maxmemory_policy="volatile-lru"),
        facts(maxmemory_policy="allkeys-lru"),
        RedisFacts(INFO, {}, "0 0 0"),
        RedisFacts(INFO, {}, "64mb 16mb 90"),
        RedisFacts(INFO, {}, "something else"),
        RedisFacts(INFO, {}, "1x 2 60"),
        RedisFacts(INFO, database="a", own_database="a"),
        RedisFacts(INFO, database="a"),
    ],
)
def test_what_is_documented_has_no_findings(fine: RedisFacts) -> None:
    found = find_in_redis(fine)
    assert [one for one in found if one.id != "redis.output_buffer"] == []
    assert bool(found) == (fine.pubsub_buffer == "1x 2 60")


@pytest.mark.parametrize(
    ("wrong", "id_", "severity", "text"),
    [
        (facts(redis_version="6.2.14"), "version", "problem", "redis 6.2.14"),
        (facts(valkey_version="7.1.0"), "version", "problem", "valkey 7.1.0"),
        (facts(role="slave"), "replica", "problem", "primary"),
        (facts(cluster_enabled="1"), "cluster", "problem", "set REDIS_CLUSTER=true"),
        (
            RedisFacts(INFO, {"zadd": "NoPermissionError: no", "set": "NoPermissionError: no"}),
            "rights",
            "problem",
            "may not use zadd, set",
        ),
        (
            RedisFacts(INFO, {"zadd": "OutOfMemoryError: command"}),
            "full",
            "problem",
            "maxmemory",
        ),
        (
            RedisFacts(INFO, {"zadd": "ResponseError: MISCONF disk"}),
            "error",
            "problem",
            "zadd failed: Resp",
        ),
        (facts(run_id=""), "hidden_identity", "note", "failover"),
        (
            facts(maxmemory="1000", maxmemory_policy="allkeys-lru"),
            "eviction",
            "note",
            "allkeys-lru",
        ),
        (RedisFacts(INFO, {}, "1048576 8388608 60"), "output_buffer", "note", "is 1048576"),
        (RedisFacts(INFO, {}, "32mb 1mb 60"), "output_buffer", "note", "default"),
        (RedisFacts(INFO, ping_seconds=0.06), "slow", "note", "60.0 ms"),
        (
            RedisFacts(INFO, database="a", own_database="b", has_foreign_leader=True),
            "prefix_taken",
            "problem",
            "another database",
        ),
        (RedisFacts(INFO, database="a", own_database="b"), "former_database", "note", "not"),
    ],
)
def test_each_fact_is_a_finding(wrong: RedisFacts, id_: str, severity: str, text: str) -> None:
    [found] = find_in_redis(wrong)
    assert (found.id, found.severity) == (f"redis.{id_}", severity)
    assert text in found.text
    assert found.todo


@pytest.mark.parametrize("info", [{"role": "slave"}, {"cluster_enabled": "1"}])
def test_errors_of_a_server_that_cannot_be_used_say_nothing_more(info: dict[str, Any]) -> None:
    wrong = RedisFacts({**INFO, **info}, {"set": "READONLY or MOVED"})
    assert len(find_in_redis(wrong)) == 1


def test_a_single_server_is_no_cluster() -> None:
    [found] = find_in_redis(RedisFacts(INFO, {"spublish": "MovedError: 1"}), is_cluster=True)
    assert (found.id, found.severity) == ("redis.cluster", "problem")
    assert "unset REDIS_CLUSTER" in found.todo


def test_what_another_node_serves_is_no_error() -> None:
    info = {**INFO, "cluster_enabled": "1"}
    elsewhere = {"hgetall": "MovedError: 1 127.0.0.1:1"}
    assert find_in_redis(RedisFacts(info, elsewhere), is_cluster=True) == []
    [found] = find_in_redis(RedisFacts(info, {"zadd": "ResponseError: no"}), is_cluster=True)
    assert found.id == "redis.error"

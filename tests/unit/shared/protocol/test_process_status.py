"""One status of what all processes report."""

from typing import Any

from shared.protocol.process_status import MAX_CHANNELS, MAX_RESETS, merge_statuses


def gateway(name: str, **more: Any) -> dict[str, Any]:
    return {"kind": "gateway", "name": name, "state": "ready", "connections": 2, **more}


def leader(name: str = "b:1", **more: Any) -> dict[str, Any]:
    return {"kind": "listener", "name": name, "state": "leader", "live": True, **more}


def test_nothing_is_known_while_nothing_runs() -> None:
    merged = merge_statuses([])
    assert (merged["leader"], merged["live"], merged["connections"]) == (None, False, 0)
    assert (merged["gateways"], merged["listeners"], merged["resets"]) == ([], [], [])
    assert set(merged["series"]) == {
        "events",
        "delivered",
        "publish_p50_ms",
        "publish_p99_ms",
        "deliver_p50_ms",
        "deliver_p99_ms",
    }


def test_the_leader_is_found_among_standbys() -> None:
    standby = {"kind": "listener", "name": "a:1", "state": "standby"}
    merged = merge_statuses([standby, leader(lag_ms=3, series={"events": [5, 7]})])
    assert (merged["leader"], merged["live"], merged["lag_ms"]) == ("b:1", True, 3)
    assert merged["series"]["events"] == [5, 7]
    assert [one["name"] for one in merged["listeners"]] == ["a:1", "b:1"]
    assert not merge_statuses([leader(live=False)])["live"]


def test_counts_are_added_and_the_worst_percentile_is_taken() -> None:
    series = {"delivered": [1, 2, 3], "deliver_p99_ms": [None, None, 5.0]}
    other = {"delivered": [10, 20], "deliver_p99_ms": [None, 9.0]}
    merged = merge_statuses([gateway("a:1", series=series), gateway("a:2", series=other)])
    assert merged["connections"] == 4
    assert merged["series"]["delivered"] == [1, 12, 23], "the newest second is the last"
    assert merged["series"]["deliver_p99_ms"] == [None, None, 9.0]


def test_channels_of_all_gateways_are_ranked_together() -> None:
    many = [[f"project:{number}", 1] for number in range(2 * MAX_CHANNELS)]
    merged = merge_statuses(
        [
            gateway("a:1", top_channels=[["project:x", 3], *many]),
            gateway("a:2", top_channels=[["project:y", 4], ["project:x", 2]]),
        ]
    )
    assert merged["top_channels"][:2] == [
        {"channel": "project:x", "subscribers": 5},
        {"channel": "project:y", "subscribers": 4},
    ]
    assert len(merged["top_channels"]) == MAX_CHANNELS


def test_the_newest_resets_come_first_with_their_process() -> None:
    resets = [{"at": at, "reason": "gap", "count": 1} for at in range(MAX_RESETS)]
    merged = merge_statuses(
        [
            gateway("a:1", resets=resets),
            leader(resets=[{"at": 99, "reason": "log_lost", "count": 1}]),
        ]
    )
    assert merged["resets"][0] == {
        "at": 99,
        "reason": "log_lost",
        "count": 1,
        "kind": "listener",
        "name": "b:1",
    }
    assert len(merged["resets"]) == MAX_RESETS


def test_what_is_merged_is_not_repeated_for_each_process() -> None:
    merged = merge_statuses([gateway("a:1", series={}, top_channels=[], resets=[])])
    assert merged["gateways"] == [{"name": "a:1", "state": "ready", "connections": 2}]


def test_a_redis_server_has_the_processes_that_reach_it() -> None:
    node = {"address": "r:1", "up": True}
    [told] = merge_statuses(
        [leader(redis=True), gateway("a:1", redis=True), gateway("a:2", redis=False)], [node]
    )["redis_nodes"]
    assert told == {**node, "leader": True, "gateways": 1}
    [told] = merge_statuses([], [node])["redis_nodes"]
    assert told == {**node, "leader": False, "gateways": 0}


def test_the_nodes_of_a_cluster_are_reached_one_by_one() -> None:
    processes = [
        leader(redis=True, redis_nodes=["r:1"]),
        gateway("a:1", redis=True, redis_nodes=["r:1", "r:2"]),
        gateway("a:2", redis=True, redis_nodes=["r:2"]),
    ]
    merged = merge_statuses(processes, [{"address": "r:1"}, {"address": "r:2"}])
    assert [(one["leader"], one["gateways"]) for one in merged["redis_nodes"]] == [
        (True, 1),
        (False, 2),
    ]
    assert "redis_nodes" not in merged["gateways"][0]

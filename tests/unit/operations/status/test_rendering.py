"""The status in a terminal."""

from typing import Any

from operations.status.rendering import render_status, spark
from shared.protocol.process_status import merge_statuses


def lines(**changed: Any) -> list[str]:
    return render_status({**merge_statuses([]), **changed})


def test_nothing_that_runs_is_said() -> None:
    shown = lines()
    assert shown[0] == "state        no leader"
    assert "leader       -" in shown
    assert "lag          -" in shown
    for name in ("gateway", "listener", "redis", "channel", "reset (UTC)"):
        assert f"{name}: none" in shown


def test_each_process_channel_and_reset_is_a_row() -> None:
    reset = {"at": 3723, "reason": "gap", "count": 3, "kind": "gateway", "name": "a:1"}
    shown = lines(
        leader="b:2",
        live=True,
        lag_ms=12,
        gateways=[
            {
                "name": "a:1",
                "state": "ready",
                "degraded": ["listener"],
                "connections": 1000,
                "channels": 5,
                "version": "0.1.0",
            }
        ],
        listeners=[{"name": "b:2", "state": "leader", "version": "0.1.0"}],
        top_channels=[{"channel": "project:1", "subscribers": 7}],
        resets=[reset, {**reset, "kind": "listener", "name": "b:2"}],
        series={"events": [1, 2.5]},
    )
    assert shown[:3] == ["state        live", "leader       b:2", "lag          12 ms"]
    assert any(line.startswith("events per second") and line.endswith("2.5") for line in shown)
    assert any(line.endswith(" -") for line in shown), "a series without values"
    rows = [line.split() for line in shown]
    assert ["a:1", "ready,", "listener", "1000", "5", "0.1.0"] in rows
    assert ["b:2", "leader", "0.1.0"] in rows
    assert ["project:1", "7"] in rows
    assert ["01:02:03", "gap", "3", "a:1"] in rows
    assert ["01:02:03", "gap", "all", "b:2"] in rows


def test_each_redis_server_is_a_row() -> None:
    up = {
        "address": "10.0.0.1:6379",
        "up": True,
        "slots": 5461,
        "replicas": 1,
        "used_memory_bytes": 3 * 2**19,
        "version": "valkey 9.1.0",
        "leader": True,
        "gateways": 0,
    }
    unknown = dict.fromkeys(("slots", "replicas", "used_memory_bytes", "version"))
    down = {**up, **unknown, "up": False, "leader": False}
    rows = [" ".join(line.split()) for line in lines(redis_nodes=[up, down])]
    assert "10.0.0.1:6379 up 5461 1 1.5 MiB linked 0 of 0 valkey 9.1.0" in rows
    assert "10.0.0.1:6379 down - - - not linked 0 of 0 -" in rows


def test_a_leader_that_misses_changes_is_not_live() -> None:
    assert lines(leader="b:2", live=False)[0] == "state        changes are missed"


def test_a_sparkline_has_a_bar_for_each_second() -> None:
    assert spark([0, 1, None, 8]).strip() == "▁▂ █"
    assert spark([]).strip() == ""
    assert spark([0, 0]).strip() == "▁▁"
    assert len(spark([1.0] * 100)) == 40

"""The last seconds of what a process counts."""

from shared.runtime.recent_history import HISTORY_SECONDS, MAX_RESETS, RecentHistory


def test_a_total_is_kept_as_its_growth_in_each_second() -> None:
    history = RecentHistory()
    for total in (100, 100, 107, 110):
        history.add_total("events", total)
    assert history.series == {"events": [0, 0, 7, 3]}


def test_durations_are_kept_as_percentiles_in_milliseconds() -> None:
    history = RecentHistory()
    history.add_milliseconds("lag", [])
    history.add_milliseconds("lag", [0.1])
    history.add_milliseconds("lag", [number / 1000 for number in range(101, 0, -1)])
    assert history.series == {
        "lag_p50_ms": [None, 100.0, 51.0],
        "lag_p99_ms": [None, 100.0, 100.0],
    }


def test_only_the_last_minute_is_kept() -> None:
    history = RecentHistory()
    for total in range(3 * HISTORY_SECONDS):
        history.add_total("events", total * total)
    [values] = history.series.values()
    assert len(values) == HISTORY_SECONDS
    newest = 3 * HISTORY_SECONDS - 1
    assert values[-1] == newest**2 - (newest - 1) ** 2


def test_resets_are_noted_when_their_totals_grow() -> None:
    history = RecentHistory()
    history.note_resets({"gap": 2.0}, at=1)
    history.note_resets({"gap": 2.0}, at=2)
    history.note_resets({"gap": 5.0, "lagged": 1.0}, at=3)
    assert sorted(history.resets[:2], key=lambda one: one["reason"]) == [
        {"at": 3, "reason": "gap", "count": 3},
        {"at": 3, "reason": "lagged", "count": 1},
    ]
    assert history.resets[2:] == [{"at": 1, "reason": "gap", "count": 2}]
    for number in range(2 * MAX_RESETS):
        history.note_resets({"gap": 6.0 + number}, at=number)
    assert len(history.resets) == MAX_RESETS

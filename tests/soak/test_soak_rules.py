"""The soak's own rules: which faults, what counts as growth, and what must be given back."""

import random

import pytest

from tests.chaos.kinds import LINK_FAULTS, PART_FAULTS, SERVER_FAULTS
from tests.soak.flatness import (
    LEAST_POINTS,
    QUANTITIES,
    find_unreturned,
    fitted_slope,
    judge_growth,
    quantity_of,
)
from tests.soak.plan import LASTING, plan_faults
from tests.soak.report import charts, tables

MINUTES = 30
SERIES = "gateway1 memory"


def _points(per_minute: float, *, noise: float = 0.5) -> list[tuple[float, float]]:
    random_ = random.Random(3)
    return [
        (second, 80 + per_minute * second / 60 + random_.uniform(-noise, noise))
        for second in range(0, MINUTES * 60, 6)
    ]


def test_a_seed_decides_the_faults_and_leaves_some_processes_alive() -> None:
    faults = plan_faults(1, seconds=3600, every=60)
    assert (
        faults
        == plan_faults(1, seconds=3600, every=60)
        != plan_faults(2, seconds=3600, every=60)
    )
    assert [fault.at for fault in faults] == [60 * number for number in range(1, 60)]
    ended = {fault.target for fault in faults if fault.kind in ("kill", "restart")}
    assert ended
    assert not ended & {*LASTING, "leader", "standby"}


def test_every_kind_of_fault_comes_before_any_comes_again() -> None:
    kinds = {*PART_FAULTS, *SERVER_FAULTS, *LINK_FAULTS}
    faults = plan_faults(1, seconds=60 * (len(kinds) + 1), every=60)
    assert sorted(fault.kind for fault in faults) == sorted(kinds)


@pytest.mark.parametrize(
    ("per_minute", "is_flat"),
    [(0.0, True), (0.05, True), (0.3, False), (-0.3, True)],
    ids=["level", "little", "a leak", "less and less"],
)
def test_what_grows_by_more_than_its_share_is_not_flat(
    per_minute: float, *, is_flat: bool
) -> None:
    growth = judge_growth(SERIES, _points(per_minute))
    assert growth is not None
    assert growth.is_flat is is_flat
    assert growth.per_hour == pytest.approx(60 * per_minute, abs=1)


def test_what_faults_do_to_a_few_samples_is_no_growth() -> None:
    points = [
        (second, value + 100 if number % 20 >= 16 else value)
        for number, (second, value) in enumerate(_points(0.0))
    ]
    points[-1] = (points[-1][0], 500.0)
    growth = judge_growth(SERIES, points)
    assert growth is not None
    assert growth.is_flat


def test_the_warm_up_is_not_judged() -> None:
    points = [(second, value if second > 300 else 20.0) for second, value in _points(0.0)]
    growth = judge_growth(SERIES, points)
    assert growth is not None
    assert growth.is_flat
    assert growth.level == pytest.approx(80, abs=1)


def test_too_few_samples_are_not_judged() -> None:
    assert judge_growth(SERIES, _points(0.0)[:LEAST_POINTS]) is None


def test_what_rises_and_falls_by_design_is_judged_over_several_periods() -> None:
    sawtooth = [(float(second), float(second % 60)) for second in range(0, 1800, 6)]
    growth = judge_growth("change log rows", sawtooth)
    assert growth is not None
    assert growth.is_flat
    assert judge_growth("change log rows", sawtooth[:40]) is None


def test_the_slope_is_that_of_most_points() -> None:
    assert fitted_slope([(0, 0), (1, 2), (2, 4), (3, 6), (4, 90)]) == 2


def test_what_was_not_given_back_is_named() -> None:
    before = {"gateway1 connections": 0.0, "gateway1 descriptors": 20.0, SERIES: 60.0}
    assert find_unreturned(before, before | {"gateway1 descriptors": 30.0, SERIES: 90.0}) == []
    assert find_unreturned(before, {"gateway1 connections": 1.0, SERIES: 60.0}) == [
        "gateway1 connections: 0 before, 1 at the end",
        "gateway1 descriptors: no answer at the end",
    ]


@pytest.mark.parametrize("name", QUANTITIES)
def test_each_series_belongs_to_one_quantity(name: str) -> None:
    assert quantity_of(f"gateway1 {name}") is QUANTITIES[name]


def test_the_report_shows_a_line_for_each_process_and_what_is_not_flat() -> None:
    held = {SERIES: _points(1.0), "listener1 memory": _points(0.0)}
    assert charts(held).count("<polyline") == 2
    growth = judge_growth(SERIES, held[SERIES])
    assert growth is not None
    figures = {
        "faults": {"redis kill": 1},
        "growths": [vars(growth) | {"is_flat": growth.is_flat}],
        "before": {"change log rows": 3.0},
        "after": {},
    }
    text = tables(figures)
    assert text.splitlines()[1].split() == ["redis", "kill", "1"]
    assert "NOT FLAT" in text
    assert text.splitlines()[-1].split() == ["change", "log", "rows", "3.0", "-"]

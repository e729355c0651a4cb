"""Redis's clock, estimated from answers to TIME."""

import pytest

from shared.links.status_board import RedisClock


def test_the_measurement_with_the_shortest_round_trip_counts() -> None:
    clock = RedisClock()
    clock.set(1000.5, asked=10.0, answered=11.0)
    assert clock.at(10.5) == 1000.5
    clock.set(1001.5, asked=11.5, answered=11.6)
    assert clock.at(11.55) == pytest.approx(1001.5)
    clock.set(1010.0, asked=12.0, answered=13.0)
    assert clock.at(11.55) == pytest.approx(1001.5), "a slow answer proves less"
    assert clock.seconds == 1010


def test_an_old_measurement_is_replaced_by_a_worse_one() -> None:
    clock = RedisClock()
    clock.set(1000.0, asked=0.0, answered=0.001)
    for second in range(100):
        clock.set(2000.0 + second, asked=float(second), answered=second + 0.1)
    assert clock.at(0.0) == pytest.approx(2000.0, abs=0.1)

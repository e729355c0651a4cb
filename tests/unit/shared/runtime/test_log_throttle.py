from shared.runtime.log_throttle import LOG_SECONDS, LogThrottle


def test_one_line_in_ten_seconds_says_how_many_events_there_were() -> None:
    throttle = LogThrottle()
    assert [throttle.count(now) for now in (0.0, 1.0, 2.0)] == [1, 0, 0]
    assert throttle.due(LOG_SECONDS - 0.1) == 0
    assert throttle.due(LOG_SECONDS) == 2
    assert throttle.due(2 * LOG_SECONDS) == 0, "nothing has happened since"
    assert throttle.count(2 * LOG_SECONDS) == 1


def test_several_lines_a_second_count_those_that_were_left_out() -> None:
    throttle = LogThrottle(lines=2, seconds=1.0)
    assert [throttle.count(now) for now in (5.0, 5.1, 5.2, 5.3)] == [1, 1, 0, 0]
    assert throttle.count(6.0) == 3
    assert throttle.due(float("inf")) == 0
    assert [throttle.count(6.1), throttle.count(6.2)] == [1, 0]
    assert throttle.due(float("inf")) == 1

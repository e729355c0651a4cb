from listener.leader.reset_throttle import ResetThrottle


def test_a_persistent_cause_resets_less_and_less_often() -> None:
    throttle, at = ResetThrottle(), 100.0
    times: list[float] = []
    while len(times) < 8:
        if throttle.is_due(at):
            throttle.record(at)
            times.append(at - 100)
        at += 0.5
    assert times == [0, 1, 3, 7, 15, 31, 61, 91]
    assert not throttle.is_due(times[-1] + 100 + 29)
    throttle.record(at + 62)
    assert throttle.is_due(at + 63), "the cause had ended: the next reset is its first"

from gateway.delivery.liveness import Liveness
from shared.protocol.control_messages import Tick
from shared.protocol.replay import Loaded


def ticks(*times: tuple[float, int]) -> Liveness:
    made = Liveness(0.0)
    for now, at in times:
        made.record(Tick("g", "gap", live=True, at=at), now)
    return made


def test_a_page_is_complete_up_to_a_second_before_the_last_tick_before_it() -> None:
    made = ticks((10.0, 50_000_000), (11.0, 51_000_000), (12.0, 52_000_000))
    assert made.loaded(0.0, 16.9) == Loaded(50_000_000)
    assert made.loaded(0.9, 16.9) == Loaded(49_000_000)
    assert made.loaded(2.0, 16.9) is None


def test_ticks_are_forgotten_after_a_reset_or_when_their_time_did_not_grow() -> None:
    made = ticks((10.0, 50_000_000))
    made.forget()
    assert made.loaded(0.0, 100.0) is None
    made = ticks((10.0, 50_000_000), (11.0, 50_000_000))
    assert made.loaded(0.0, 15.9) is None
    assert made.loaded(0.0, 16.0) == Loaded(49_000_000)
    made = ticks((10.0, 50_000_000), (131.0, 171_000_000))
    assert made.loaded(0.0, 131.0) is None


def test_a_leader_is_missing_after_the_given_time() -> None:
    made = Liveness(100.0, missing_seconds=2.5)
    assert not made.is_missing(102.4)
    assert made.is_missing(102.5)


def test_without_ticks_nothing_is_live() -> None:
    made = Liveness(100.0)
    assert made.is_live(104.9)
    assert not made.is_live(105.0)
    made.record(Tick("g", "gap", live=True, at=1), 110.0)
    assert made.is_live(114.9)
    made.record(Tick("g", "gap", live=False, at=2), 111.0)
    assert not made.is_live(111.0)

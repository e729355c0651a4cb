from listener.leader.leader_state import (
    MAX_ROWS_PER_READ,
)
from listener.leader.read_schedule import ReadSchedule, WakeUpHolder, WakeUpWatch, pause_after


def test_the_poll_interval_doubles_after_a_wake_up_and_after_each_read_that_found_rows() -> (
    None
):
    schedule = ReadSchedule()
    assert schedule.next_wait(found=False) == 0.25
    schedule.wake()
    waits = [schedule.next_wait(found=False) for _ in range(9)]
    assert waits == [0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.25, 0.25]
    assert schedule.next_wait(found=True) == 0.002
    assert schedule.next_wait(found=False) == 0.004


def test_a_leader_polls_every_10_ms_while_the_wake_up_lock_is_kept() -> None:
    schedule = ReadSchedule(is_unwoken=True)
    assert [schedule.next_wait(found=False) for _ in range(2)] == [0.01, 0.01]
    schedule.wake()
    assert [schedule.next_wait(found=False) for _ in range(4)] == [0.002, 0.004, 0.008, 0.01]


def test_after_rows_without_a_wake_up_the_leader_polls_every_10_ms_for_5_seconds() -> None:
    schedule = ReadSchedule()
    assert schedule.next_wait(found=False) == 0.25
    waits = [schedule.next_wait(found=number in (0, 50)) for number in range(600)]
    assert max(waits[:549]) == 0.01
    assert waits[549:] == [0.25] * 51
    schedule.next_wait(found=True)
    schedule.wake()
    assert [schedule.next_wait(found=False) for _ in range(8)][-1] == 0.25


def test_a_session_that_holds_the_wake_up_lock_at_two_checks_is_reported_once() -> None:
    writer, keeper = WakeUpHolder(1, "app", "9:00"), WakeUpHolder(2, "stranger", "8:00")
    watch = WakeUpWatch()
    assert watch.check(frozenset({writer, keeper})) == set()
    assert watch.check(frozenset({keeper})) == {keeper}
    assert watch.check(frozenset({keeper, writer})) == set()
    assert watch.keeping == {keeper}
    # the process id belongs to another session now
    assert watch.check(frozenset({WakeUpHolder(2, "app", "9:01")})) == set()
    assert watch.keeping == set()


def test_the_pause_after_a_read_grows_with_its_rows_up_to_10_ms() -> None:
    assert pause_after(0) == 0.0
    assert pause_after(4) == 0.001
    assert pause_after(40) == pause_after(MAX_ROWS_PER_READ) == 0.01


def test_empty_wake_ups_are_delayed_until_a_read_finds_rows_or_none_comes() -> None:
    def pause(rows: int = 0, *, woken: bool = True) -> float:
        if woken:
            schedule.wake()
        return schedule.pause(rows)

    schedule = ReadSchedule()
    assert [pause() for _ in range(20)] == [0.0] * 20
    assert [pause(), pause(), pause(1)] == [0.01, 0.01, 0.00025]
    assert [pause() for _ in range(21)][-2:] == [0.0, 0.01]
    assert [pause(woken=False), pause()] == [0.0, 0.0]

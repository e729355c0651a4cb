import pytest

from listener.leader.takeover import LeaderWatch, OwnerWatch


@pytest.mark.parametrize(
    ("reads", "dies_at"),
    [
        ([(at, 7, "same") for at in range(10)], 5),
        ([(at, 7, f"heartbeat {at}") for at in range(10)], None),
        ([(at, 7, "old" if at < 3 else "new") for at in range(10)], 8),
        ([(at, 7 if at < 3 else 8, "same") for at in range(10)], 8),
        ([(at, 7, "same") for at in (0, 1, 2, 6, 7, 8, 9, 10, 11)], 11),
        (
            [
                (0, 7, "same"),
                (1, 7, "same"),
                (2, None, ""),
                *((at, 7, "same") for at in range(3, 9)),
            ],
            8,
        ),
    ],
    ids=[
        "silent",
        "alive",
        "alive, then silent",
        "new holder",
        "not read for long",
        "not readable",
    ],
)
def test_a_standby_ends_a_leader_after_five_observed_seconds_without_a_heartbeat(
    reads: list[tuple[int, int | None, str]], dies_at: int | None
) -> None:
    watch = LeaderWatch()
    dead = []
    for at, holder, heartbeat in reads:
        if holder is None:
            watch.restart()
        elif watch.is_dead(holder=holder, heartbeat=heartbeat, now=100.0 + at):
            dead.append(at)
    assert (dead[0] if dead else None) == dies_at


def test_a_standby_is_more_patient_with_a_leader_that_waits_for_another_database() -> None:
    watch = LeaderWatch()
    alive = [
        watch.is_dead(holder=1, heartbeat=f"b.{at}", now=at, is_waiting=True)
        for at in range(30)
    ]
    assert not any(alive), "the other database's leader is alive"
    dead = [
        watch.is_dead(holder=1, heartbeat="b.29", now=at, is_waiting=True)
        for at in range(30, 46)
    ]
    assert dead.index(True) == 14, "5 s after the 10 s that it must wait"


@pytest.mark.parametrize(
    ("reads", "expected"),
    [
        ([(0.0, {})], [False]),
        ([(0.0, {"database": "mine", "alive": "a.1"})], [False]),
        (
            [(at, {"database": "its", "alive": "b.1"}) for at in (0.0, 9.9, 10.0)],
            [True, True, False],
        ),
        (
            [(at, {"database": "its", "alive": f"b.{at}"}) for at in (0.0, 9.0, 18.0)],
            [True, True, True],
        ),
        ([(0.0, {"database": "its"}), (1.0, {"database": "mine"})], [True, False]),
    ],
    ids=["nothing is stored", "ours", "dead", "alive", "restored to ours"],
)
def test_a_leader_waits_while_another_databases_leader_is_alive(
    reads: list[tuple[float, dict[str, str]]], expected: list[bool]
) -> None:
    owner = OwnerWatch()
    is_waiting = [owner.must_wait(state, database="mine", now=now) for now, state in reads]
    assert is_waiting == expected

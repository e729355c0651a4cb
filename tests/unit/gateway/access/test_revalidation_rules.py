"""The state machine of revalidation: what a recheck, an answer and a timeout cause."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.access.access_cache import STARVING_SECONDS
from gateway.access.revalidation_rules import (
    GIVE_UP_SECONDS,
    RETRY_SECONDS,
    Effect,
    Revalidations,
    UserPasses,
)

PAIR = ("p", "u")
SUSPEND, RESUME, REVOKE = Effect.SUSPEND, Effect.RESUME, Effect.REVOKE
GIVE_UP, CHECK = Effect.GIVE_UP, Effect.CHECK


def happen(made: Revalidations, event: str, now: float) -> tuple[Effect, ...]:
    match event:
        case "recheck":
            return made.recheck(PAIR, now)
        case "sent":
            return made.sent(PAIR, now)
        case "yes" | "no":
            return made.answered(PAIR, now, allowed=event == "yes")
        case "unavailable" | "ended":
            return made.unavailable(PAIR, now, may_retry=event == "unavailable")
        case _:
            assert event == "timeout"
            return made.timed_out(PAIR, now)


BEGIN = [("recheck", 0.0, [SUSPEND, CHECK]), ("sent", 0.0, [])]
LATE = STARVING_SECONDS + 0.5
STARVED = [
    *BEGIN,
    ("recheck", 1.0, [SUSPEND]),
    ("yes", LATE, [RESUME, CHECK]),
    ("sent", LATE, []),
]


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param([*BEGIN, ("yes", 1.0, [RESUME])], id="access is kept"),
        pytest.param([*BEGIN, ("no", 1.0, [REVOKE])], id="access is lost"),
        pytest.param([*BEGIN, ("yes", 9.0, [RESUME])], id="an answer that is late"),
        pytest.param(
            [*BEGIN, ("yes", 1.0, [RESUME]), *BEGIN, ("no", 1.0, [REVOKE])],
            id="each revalidation starts afresh",
        ),
        pytest.param(
            [BEGIN[0], ("recheck", 0.0, [SUSPEND]), BEGIN[1], ("yes", 1.0, [RESUME])],
            id="a recheck before the check is sent overtakes nothing",
        ),
        pytest.param(
            [
                *BEGIN,
                ("recheck", 0.1, [SUSPEND]),
                ("recheck", 0.2, [SUSPEND]),
                ("no", 0.3, [CHECK]),
                ("sent", 0.3, []),
                ("recheck", 0.4, [SUSPEND]),
                ("yes", STARVING_SECONDS, [CHECK]),
                ("sent", STARVING_SECONDS, []),
                ("yes", 1.1, [RESUME]),
            ],
            id="an overtaken answer is checked again",
        ),
        pytest.param(
            [*BEGIN, ("recheck", 1.0, [SUSPEND]), ("no", LATE, [REVOKE])],
            id="a starving pair is revoked though the answer is overtaken",
        ),
        pytest.param(
            [*STARVED, ("yes", LATE + 0.5, [RESUME])],
            id="a starving pair is released, and then keeps its access",
        ),
        pytest.param([*STARVED, ("no", LATE + 0.5, [REVOKE])], id="released, then revoked"),
        pytest.param(
            [
                *STARVED,
                ("recheck", LATE + 0.1, [SUSPEND]),
                ("yes", LATE + 0.2, [RESUME, CHECK]),
                ("sent", LATE + 0.2, []),
                ("recheck", LATE + 0.3, [SUSPEND]),
                ("no", LATE + 0.4, [REVOKE]),
            ],
            id="the next recheck suspends a released pair",
        ),
        pytest.param(
            [
                *STARVED,
                ("timeout", LATE + STARVING_SECONDS, [SUSPEND]),
                ("yes", LATE + 2.0, [RESUME]),
            ],
            id="a released pair is suspended while its answer is late",
        ),
        pytest.param(
            [*STARVED, ("unavailable", LATE + 0.1, [SUSPEND])],
            id="a released pair is suspended while the database is unavailable",
        ),
        pytest.param(
            [
                *BEGIN,
                ("unavailable", 1.0, [SUSPEND]),
                ("recheck", 1.1, [SUSPEND]),
                ("timeout", 1.0 + RETRY_SECONDS, [CHECK]),
                ("sent", 1.0 + RETRY_SECONDS, []),
                ("yes", 2.0, [RESUME]),
            ],
            id="the check is repeated, and covers rechecks that came meanwhile",
        ),
        pytest.param(
            [*BEGIN, ("unavailable", GIVE_UP_SECONDS, [SUSPEND, GIVE_UP])],
            id="without an answer for long enough it is given up",
        ),
        pytest.param(
            [
                *BEGIN,
                ("recheck", 3.0, [SUSPEND]),
                ("no", 0.9, [CHECK]),
                ("sent", 0.9, []),
                ("unavailable", 0.8 + GIVE_UP_SECONDS, [SUSPEND]),
                ("timeout", 1.0 + GIVE_UP_SECONDS, [CHECK]),
                ("sent", 1.0 + GIVE_UP_SECONDS, []),
                ("unavailable", 1.0 + GIVE_UP_SECONDS, [SUSPEND, GIVE_UP]),
            ],
            id="the time without an answer begins at the last answer",
        ),
        pytest.param(
            [*BEGIN, ("ended", 0.1, [SUSPEND, GIVE_UP])],
            id="a gateway that shuts down does not retry",
        ),
    ],
)
def test_a_revalidation_takes_its_course(
    steps: Sequence[tuple[str, float, list[Effect]]],
) -> None:
    made = Revalidations()
    for event, now, effects in steps:
        assert list(happen(made, event, now)) == effects, (event, now)


def test_the_time_to_wake_is_that_of_the_state() -> None:
    made = Revalidations()
    assert made.wake_at(PAIR) is None
    for event, now, _ in BEGIN:
        happen(made, event, now)
        assert made.wake_at(PAIR) is None
    made.unavailable(PAIR, 1.0, may_retry=True)
    made.recheck(PAIR, 1.1)
    assert made.wake_at(PAIR) == 1.0 + RETRY_SECONDS, "a recheck does not delay the retry"
    made.timed_out(PAIR, 1.25)
    assert made.wake_at(PAIR) is None
    made.recheck(PAIR, 1.3)
    made.answered(PAIR, LATE, allowed=True)
    made.sent(PAIR, LATE + 0.1)
    assert made.wake_at(PAIR) == LATE + STARVING_SECONDS
    made.answered(PAIR, LATE + 0.2, allowed=True)
    assert made.wake_at(PAIR) is None


@given(
    st.lists(
        st.tuples(st.sampled_from(["recheck", "reply"]), st.integers(0, 2), st.integers(0, 3))
    )
)
def test_a_pair_is_live_only_after_a_yes(events: list[tuple[str, int, int]]) -> None:
    """One check runs at a time; a recheck suspends the pair until an answer comes."""
    made, now = Revalidations(), 0.0
    running = is_suspended = False
    for kind, which, halves in events:
        now += halves / 2
        wake_at = made.wake_at(PAIR)
        if wake_at is not None and wake_at <= now:
            effects = made.timed_out(PAIR, wake_at)
        elif kind == "reply" and running:
            running = False
            event = ("yes", "no", "unavailable")[which]
            effects = happen(made, event, now)
            assert RESUME not in effects or event == "yes"
        else:
            effects = made.recheck(PAIR, now)
            assert effects[0] is SUSPEND
        if CHECK in effects:
            assert not running
            running = True
            assert made.sent(PAIR, now) == ()
        is_suspended = (SUSPEND in effects or is_suspended) and RESUME not in effects
        if {REVOKE, GIVE_UP}.intersection(effects):
            is_suspended = False
        assert running or is_suspended == (made.wake_at(PAIR) is not None)


def test_one_pass_over_a_users_subscriptions_runs_and_one_follows() -> None:
    passes = UserPasses()
    assert [passes.request("u") for _ in range(3)] == [True, False, False]
    assert passes.request("v")
    assert [passes.rested("u"), passes.rested("u")] == [True, False]
    assert not passes.rested("v")
    assert passes.request("u")

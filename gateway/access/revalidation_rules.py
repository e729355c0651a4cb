"""Rules of revalidation: when access is checked again, and what happens until the answer.

A recheck suspends the subscriptions of each *pair* (a project and a user) that it concerns
until the database has answered. ``TRANSITIONS`` is the whole state machine.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, TypeAlias

from gateway.access.access_cache import STARVING_SECONDS
from gateway.access.pairs import Pair

RETRY_SECONDS: Final = 0.25  # delay before the next try when the database does not answer
GIVE_UP_SECONDS: Final = 5.0  # without an answer
USER_REST_SECONDS: Final = 5.0  # between two passes over a user's subscriptions
SAFETY_INTERVAL_SECONDS: Final = 300.0  # between two passes over all subscriptions


class State(Enum):
    """State of a pair's revalidation; the pair is suspended except in IDLE and RELEASED."""

    IDLE = auto()  # not suspended: no revalidation is running
    CHECKING = auto()  # a check is running that covers every recheck so far
    OVERTAKEN = auto()  # a check is running, and a recheck has come since it was sent
    RELEASED = auto()  # not suspended: the last answer was yes, but overtaken; CHECKING again
    WAITING = auto()  # the database did not answer; the next check is sent after a pause


class Event(Enum):
    """What happens to a pair. An answer or a failure is that of the check that is running."""

    RECHECK = auto()  # access may have changed
    SENT = auto()  # the check that an effect asked for is being sent
    YES = auto()
    NO = auto()
    STARVING_YES = auto()  # overtaken, and STARVING_SECONDS have passed since the first recheck
    STARVING_NO = auto()
    UNAVAILABLE = auto()
    GIVEN_UP = auto()  # unavailable, and no answer in GIVE_UP_SECONDS
    TIMEOUT = auto()  # ``wake_at`` was reached


class Effect(Enum):
    """What the adapter does; it performs several effects in their order."""

    SUSPEND = auto()  # deliver nothing to the pair's subscriptions
    RESUME = auto()  # deliver again, beginning with what they missed
    REVOKE = auto()  # end the subscriptions: the user has no access
    GIVE_UP = auto()  # end the subscriptions: access could not be checked
    CHECK = auto()  # send a check, and report SENT and its outcome


_Transition: TypeAlias = tuple[State, tuple[Effect, ...]]
_RETRY: Final[Mapping[Event, _Transition]] = {
    Event.UNAVAILABLE: (State.WAITING, (Effect.SUSPEND,)),
    Event.GIVEN_UP: (State.IDLE, (Effect.SUSPEND, Effect.GIVE_UP)),
}

# A project whose own row changes all the time overtakes each answer. After STARVING_SECONDS a
# yes therefore releases the pair although it is overtaken, until the next recheck, or until the
# next answer is late (TIMEOUT); a no revokes it.
TRANSITIONS: Final[Mapping[State, Mapping[Event, _Transition]]] = {
    State.IDLE: {
        Event.RECHECK: (State.CHECKING, (Effect.SUSPEND, Effect.CHECK)),
    },
    State.CHECKING: {
        Event.RECHECK: (State.OVERTAKEN, (Effect.SUSPEND,)),
        Event.SENT: (State.CHECKING, ()),
        Event.YES: (State.IDLE, (Effect.RESUME,)),
        Event.NO: (State.IDLE, (Effect.REVOKE,)),
        **_RETRY,
    },
    State.OVERTAKEN: {
        Event.RECHECK: (State.OVERTAKEN, (Effect.SUSPEND,)),
        Event.SENT: (State.CHECKING, ()),
        Event.YES: (State.CHECKING, (Effect.CHECK,)),
        Event.NO: (State.CHECKING, (Effect.CHECK,)),
        Event.STARVING_YES: (State.RELEASED, (Effect.RESUME, Effect.CHECK)),
        Event.STARVING_NO: (State.IDLE, (Effect.REVOKE,)),
        **_RETRY,
    },
    State.RELEASED: {
        Event.RECHECK: (State.OVERTAKEN, (Effect.SUSPEND,)),
        Event.SENT: (State.RELEASED, ()),
        Event.YES: (State.IDLE, (Effect.RESUME,)),
        Event.NO: (State.IDLE, (Effect.REVOKE,)),
        Event.TIMEOUT: (State.CHECKING, (Effect.SUSPEND,)),
        **_RETRY,
    },
    State.WAITING: {
        Event.RECHECK: (State.WAITING, (Effect.SUSPEND,)),
        Event.TIMEOUT: (State.CHECKING, (Effect.CHECK,)),
    },
}


@dataclass(slots=True)
class _Revalidation:
    began: float
    answered_at: float  # the last answer; before the first, the beginning
    state: State = State.IDLE
    wake_at: float | None = None


class Revalidations:
    """The revalidations that are running. Times are of one monotonic clock, in seconds."""

    def __init__(self) -> None:
        self._running: dict[Pair, _Revalidation] = {}

    def wake_at(self, pair: Pair) -> float | None:
        """Return when ``timed_out`` is to be called; each event may change it."""
        revalidation = self._running.get(pair)
        return None if revalidation is None else revalidation.wake_at

    def recheck(self, pair: Pair, now: float) -> tuple[Effect, ...]:
        """Handle a recheck that concerns the pair."""
        self._running.setdefault(pair, _Revalidation(now, now))
        return self._apply(pair, Event.RECHECK, now)

    def sent(self, pair: Pair, now: float) -> tuple[Effect, ...]:
        """Handle the start of a check: its answer covers every recheck that came before."""
        return self._apply(pair, Event.SENT, now)

    def answered(self, pair: Pair, now: float, *, allowed: bool) -> tuple[Effect, ...]:
        """Handle the answer to the running check."""
        revalidation = self._running[pair]
        revalidation.answered_at = now
        is_starving = now > revalidation.began + STARVING_SECONDS
        if revalidation.state is State.OVERTAKEN and is_starving:
            return self._apply(pair, Event.STARVING_YES if allowed else Event.STARVING_NO, now)
        return self._apply(pair, Event.YES if allowed else Event.NO, now)

    def unavailable(self, pair: Pair, now: float, *, may_retry: bool) -> tuple[Effect, ...]:
        """Handle the failure of the running check."""
        within_deadline = now < self._running[pair].answered_at + GIVE_UP_SECONDS
        event = Event.UNAVAILABLE if may_retry and within_deadline else Event.GIVEN_UP
        return self._apply(pair, event, now)

    def timed_out(self, pair: Pair, now: float) -> tuple[Effect, ...]:
        """Handle reaching ``wake_at``."""
        return self._apply(pair, Event.TIMEOUT, now)

    def _apply(self, pair: Pair, event: Event, now: float) -> tuple[Effect, ...]:
        revalidation = self._running[pair]
        state, effects = TRANSITIONS[revalidation.state][event]
        if state is State.IDLE:
            del self._running[pair]
        elif state is not revalidation.state:
            revalidation.state = state
            revalidation.wake_at = _wake_at(state, now)
        return effects


def _wake_at(entered: State, now: float) -> float | None:
    match entered:
        case State.WAITING:
            return now + RETRY_SECONDS
        case State.RELEASED:
            return now + STARVING_SECONDS
        case _:
            return None


class UserPasses:
    """Coalesces passes over a user's subscriptions: one at a time, and one more after a pause
    if any was requested meanwhile.
    """

    def __init__(self) -> None:
        self._running: dict[str, bool] = {}  # whether another pass was requested

    def request(self, user_id: str) -> bool:
        """Return whether to start passes over the user's subscriptions now."""
        is_running = user_id in self._running
        self._running[user_id] = is_running
        return not is_running

    def rested(self, user_id: str) -> bool:
        """Return whether another pass follows, after a pass and its rest."""
        if self._running.pop(user_id):
            self._running[user_id] = False
            return True
        return False

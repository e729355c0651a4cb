"""Re-check access when it may have changed, and end revoked subscriptions."""

import asyncio
import logging
import random
from collections.abc import Sequence
from typing import Final, Protocol

from prometheus_client import CollectorRegistry, Counter

from gateway.access.checker import AccessChecker, AccessUnavailable
from gateway.access.pairs import Pair
from gateway.access.revalidation_rules import (
    SAFETY_INTERVAL_SECONDS,
    USER_REST_SECONDS,
    Effect,
    Revalidations,
    UserPasses,
)
from shared.protocol.control_messages import Recheck
from shared.runtime.log_throttle import LogThrottle

EVERYTHING: Final = Recheck(None, None)
_PAIRS_AT_ONCE: Final = 100

log = logging.getLogger(__name__)


class SubscribedPairs(Protocol):
    """What revalidation needs of the subscriptions: their pairs, and how to stop them."""

    def pairs(self, recheck: Recheck) -> list[Pair]:
        """Return the project and user of each subscription that the recheck concerns."""
        ...

    def suspend(self, pair: Pair) -> None:
        """Deliver nothing to the pair's subscriptions until ``resume``."""
        ...

    def resume(self, pair: Pair) -> None:
        """Deliver again, beginning with what the pair's subscriptions missed."""
        ...

    def revoke(self, pair: Pair) -> None:
        """End the pair's subscriptions: the user has no access."""
        ...

    def give_up(self, pair: Pair) -> None:
        """End the pair's subscriptions: access could not be checked."""
        ...


class Revalidator:
    """Checks access again, and performs what the rules of revalidation decide."""

    def __init__(
        self,
        access: AccessChecker,
        subscriptions: SubscribedPairs,
        registry: CollectorRegistry,
        tasks: asyncio.TaskGroup,
    ) -> None:
        self._access = access
        self._subscriptions = subscriptions
        self._tasks = tasks
        self._revalidations = Revalidations()
        self._timers: dict[Pair, tuple[float, asyncio.Task[None]]] = {}
        self._passes = UserPasses()
        self._log_throttle = LogThrottle()
        self._revoked = Counter(
            "neverstale_revoked_total",
            "Users who lost access to a project that they were subscribed to",
            registry=registry,
        )

    def recheck(self, recheck: Recheck) -> None:
        """Suspend the subscriptions that the recheck concerns until access is checked again.

        A client that is subscribing meanwhile finds no cached answer, so it is checked too.
        """
        self._access.invalidate(recheck)
        now = asyncio.get_running_loop().time()
        for pair in self._subscriptions.pairs(recheck):
            self._perform(pair, self._revalidations.recheck(pair, now))

    def is_foreign(self, database: str) -> bool:
        """Return whether messages of *database* are not of the database that checks access."""
        return self._access.is_foreign(database)

    def knows_database(self) -> bool:
        """Return whether the database that checks access is identified."""
        return self._access.knows_database()

    async def learn_database(self) -> None:
        """Identify the database that checks access, if it is available."""
        await self._access.learn_database()

    def _perform(self, pair: Pair, effects: Sequence[Effect]) -> None:
        self._set_timer(pair)
        for effect in effects:
            match effect:
                case Effect.SUSPEND:
                    self._subscriptions.suspend(pair)
                case Effect.RESUME:
                    self._subscriptions.resume(pair)
                case Effect.REVOKE:
                    self._revoke(pair)
                case Effect.GIVE_UP:
                    self._subscriptions.give_up(pair)
                case Effect.CHECK:
                    self._tasks.create_task(self._check(pair))

    def _set_timer(self, pair: Pair) -> None:
        wake_at = self._revalidations.wake_at(pair)
        former_wake_at, timer = self._timers.get(pair, (None, None))
        if wake_at == former_wake_at:
            return  # a new task would start later: rechecks without a pause would starve it
        if timer is not None:
            del self._timers[pair]
            timer.cancel()
        if wake_at is not None:
            # a task of the group, so that nothing fires after the gateway has ended
            task = self._tasks.create_task(self._wake(pair, wake_at))
            self._timers[pair] = wake_at, task

    async def _wake(self, pair: Pair, wake_at: float) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(wake_at - loop.time())
        del self._timers[pair]  # this task: it must not cancel itself
        self._perform(pair, self._revalidations.timed_out(pair, loop.time()))

    async def _check(self, pair: Pair) -> None:
        loop = asyncio.get_running_loop()
        self._perform(pair, self._revalidations.sent(pair, loop.time()))
        try:
            allowed = await self._access.check(pair)
        except AccessUnavailable as exc:
            may_retry = not self._access.has_ended
            effects = self._revalidations.unavailable(pair, loop.time(), may_retry=may_retry)
            if Effect.GIVE_UP in effects:
                self._warn(str(exc))
        else:
            effects = self._revalidations.answered(pair, loop.time(), allowed=allowed)
        self._perform(pair, effects)

    def _warn(self, reason: str) -> None:
        count = self._log_throttle.count(asyncio.get_running_loop().time())
        if count:
            log.warning(
                "access could not be re-checked, subscriptions were ended",
                extra={"count": count, "reason": reason[:300]},
            )

    def _revoke(self, pair: Pair) -> None:
        self._revoked.inc()
        self._subscriptions.revoke(pair)

    def revalidate_user(self, user_id: str) -> None:
        """Check access again for all of the user's subscriptions.

        Nothing suggests that access changed, so nothing is suspended meanwhile.
        """
        if self._passes.request(user_id):
            self._tasks.create_task(self._revalidate_user(user_id))

    async def _revalidate_user(self, user_id: str) -> None:
        has_more = True
        while has_more:
            await self._check_all(self._subscriptions.pairs(Recheck(None, user_id)))
            await asyncio.sleep(USER_REST_SECONDS)
            has_more = self._passes.rested(user_id)

    async def run_safety_rechecks(self) -> None:
        """Check access for all subscriptions at intervals. Never returns.

        This finds what no recheck announces: a lost recheck, and access that changes without a
        change of a watched row.
        """
        while True:
            jitter = random.uniform(0.8, 1.2)  # noqa: S311 no secret
            await asyncio.sleep(SAFETY_INTERVAL_SECONDS * jitter)
            await self._check_all(self._subscriptions.pairs(EVERYTHING))

    async def _check_all(self, pairs: Sequence[Pair]) -> None:
        """Check a few pairs at a time, and revoke those that are not allowed any more."""

        async def check(pair: Pair) -> None:
            try:
                if not await self._access.check(pair):
                    self._revoke(pair)
            except AccessUnavailable:
                pass  # the next pass checks it again

        for start in range(0, len(pairs), _PAIRS_AT_ONCE):
            async with asyncio.TaskGroup() as checks:
                for pair in pairs[start : start + _PAIRS_AT_ONCE]:
                    checks.create_task(check(pair))

"""Asks anew who may hear whenever that may have changed, and ends what is over."""

import asyncio
import logging
import random
from collections.abc import Sequence
from typing import Final, Protocol

from prometheus_client import CollectorRegistry, Counter

from gateway.access.access_cache import STARVING_SECONDS
from gateway.access.checker import AccessChecker, AccessUnavailable
from gateway.access.pairs import Pair
from shared.protocol.control_messages import Recheck
from shared.runtime.log_throttle import LogThrottle

EVERYTHING: Final = Recheck(None, None)
UNAVAILABLE_SECONDS: Final = 5.0
RETRY_SECONDS: Final = 0.25
NET_SECONDS: Final = 300.0
REVALIDATION_REST_SECONDS: Final = 5.0
_PAIRS_AT_ONCE: Final = 100

log = logging.getLogger(__name__)


class Subscriptions(Protocol):
    """What revalidation needs of the subscriptions: which there are, and their ends."""

    def pairs(self, recheck: Recheck) -> list[Pair]:
        """The project and user of each subscription that the recheck concerns."""
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
    """Holds subscriptions that became doubtful until the database has answered."""

    def __init__(
        self,
        access: AccessChecker,
        subscriptions: Subscriptions,
        registry: CollectorRegistry,
        tasks: asyncio.TaskGroup,
    ) -> None:
        self._access = access
        self._subscriptions = subscriptions
        self._tasks = tasks
        self._asking: set[Pair] = set()
        self._overtaken: set[Pair] = set()  # doubtful again since it is asked
        self._revalidating: dict[str, bool] = {}  # users; whether again after this time
        self._log_pace = LogThrottle()
        self._revoked = Counter(
            "neverstale_revoked_total",
            "Users who lost a project that they were hearing of",
            registry=registry,
        )

    def recheck(self, recheck: Recheck) -> None:
        """Access may have changed: what it concerns is told nothing more before it was asked
        again. Whoever was joining meanwhile asks again by itself.
        """
        self._access.invalidate(recheck)
        for pair in self._subscriptions.pairs(recheck):
            self._subscriptions.suspend(pair)
            self._overtaken.add(pair)
            if pair not in self._asking:
                self._asking.add(pair)
                self._tasks.create_task(self._ask(pair))

    def is_foreign(self, database: str) -> bool:
        """Whether what is published is of another database than the one asked for access."""
        return self._access.is_foreign(database)

    def knows_database(self) -> bool:
        """Whether ``is_foreign`` can tell."""
        return self._access.knows_database()

    async def learn_database(self) -> None:
        """Find out which one that is, if it can be told now."""
        await self._access.learn_database()

    async def _ask(self, pair: Pair) -> None:
        loop = asyncio.get_running_loop()
        began = answered = loop.time()
        holding: asyncio.TimerHandle | None = None
        while True:
            self._overtaken.discard(pair)
            try:
                allowed = await self._access.check(pair)
            except AccessUnavailable as exc:
                self._subscriptions.suspend(pair)
                is_patient = loop.time() < answered + UNAVAILABLE_SECONDS
                if is_patient and not self._access.has_ended:
                    await asyncio.sleep(RETRY_SECONDS)
                    continue
                count = self._log_pace.count(loop.time())
                if count:
                    log.warning(
                        "access could not be checked again, subscriptions were given up",
                        extra={"count": count, "reason": str(exc)[:300]},
                    )
                self._asking.discard(pair)
                self._overtaken.discard(pair)
                self._subscriptions.give_up(pair)
                return
            finally:
                if holding is not None:
                    holding.cancel()
            answered = loop.time()
            is_starving = answered > began + STARVING_SECONDS
            if pair not in self._overtaken or (is_starving and not allowed):
                break
            if is_starving:
                # the next doubt holds it again, and so does an answer that does not come soon
                self._subscriptions.resume(pair)
                holding = loop.call_later(STARVING_SECONDS, self._subscriptions.suspend, pair)
        self._asking.discard(pair)
        self._overtaken.discard(pair)
        if allowed:
            self._subscriptions.resume(pair)
        else:
            self._revoke(pair)

    def _revoke(self, pair: Pair) -> None:
        self._revoked.inc()
        self._subscriptions.revoke(pair)

    def revalidate_user(self, user_id: str) -> None:
        """Ask again for all that the user is subscribed to; nothing says that it changed, so
        nothing is held meanwhile.

        However often this is wanted, one pass runs at a time, and one more after a rest.
        """
        is_running = user_id in self._revalidating
        self._revalidating[user_id] = is_running
        if not is_running:
            self._tasks.create_task(self._revalidate(user_id))

    async def _revalidate(self, user_id: str) -> None:
        while True:
            await self._ask_all(self._subscriptions.pairs(Recheck(None, user_id)))
            await asyncio.sleep(REVALIDATION_REST_SECONDS)
            if not self._revalidating[user_id]:
                del self._revalidating[user_id]
                return
            self._revalidating[user_id] = False

    async def run_safety_rechecks(self) -> None:
        """Ask for everything that is live now and then: the net under lost rechecks, and what
        changes access without changing a watched row. Never returns.
        """
        while True:
            await asyncio.sleep(NET_SECONDS * random.uniform(0.8, 1.2))  # noqa: S311 no secret
            await self._ask_all(self._subscriptions.pairs(EVERYTHING))

    async def _ask_all(self, pairs: Sequence[Pair]) -> None:
        """Ask for them a few at a time, and revoke what is not allowed any more."""

        async def ask(pair: Pair) -> None:
            try:
                if not await self._access.check(pair):
                    self._revoke(pair)
            except AccessUnavailable:
                pass  # there is a next time

        for start in range(0, len(pairs), _PAIRS_AT_ONCE):
            async with asyncio.TaskGroup() as asking:
                for pair in pairs[start : start + _PAIRS_AT_ONCE]:
                    asking.create_task(ask(pair))

"""A standby waits for the leader's lock, and ends the session of a leader that is frozen.

And what a leader shows, so that it is not taken for one.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from itertools import count
from typing import Final

from listener.leader.takeover import LeaderWatch
from listener.links.pg_link import Session
from shared.links.redis_link import Client, RedisLost, telling_loss

POLL_SECONDS: Final = 0.05
LOOK_SECONDS: Final = 1.0
SIGN_SECONDS: Final = 1.0
# Shorter than a standby's patience: when Redis is back, a leader shows itself in time.
REDIS_SECONDS: Final = 2.0

log = logging.getLogger(__name__)


class LeaderHeartbeat:
    """Fields of the leader's state in Redis, written and read within a deadline.

    Every method raises ``RedisLost``.
    """

    def __init__(self, client: Client, state_key: str, *, name: str) -> None:
        self._client = client
        self._key = state_key
        self._name = name

    async def show(self, number: int) -> None:
        """Store the leader's sign of life, another with each number."""
        async with self._in_time():
            await self._client.hset(self._key, "alive", f"{self._name}.{number}")

    async def see(self) -> tuple[str, str]:
        """The newest sign of life, and the database whose leaders show it ("": not told).

        Writes too: only where a standby could show a sign itself, a leader is to blame for
        showing none.
        """
        async with (
            self._in_time(),
            self._client.pipeline(transaction=False) as pipeline,
        ):
            pipeline.hset(self._key, "seen_by", self._name)  # type: ignore[unused-awaitable]
            pipeline.hget(self._key, "alive")  # type: ignore[unused-awaitable]
            pipeline.hget(self._key, "database")  # type: ignore[unused-awaitable]
            _, sign, database = await pipeline.execute()
            return str(sign), (database or b"").decode(errors="replace")

    async def see_elsewhere(self) -> tuple[str, str]:
        """The same on a new connection: the address may lead to another server by now."""
        await self._client.drop_connections()
        return await self.see()

    @asynccontextmanager
    async def _in_time(self) -> AsyncIterator[None]:
        async with telling_loss(self._client), asyncio.timeout(REDIS_SECONDS):
            yield


class Standby:
    """Stands by on its own LISTEN session. ``is_linked``: Redis accepts its writes."""

    is_refused = False

    def __init__(self, session: Session, sign: LeaderHeartbeat, *, database: str) -> None:
        self._session = session
        self._sign = sign
        self._database = database
        self._watch = LeaderWatch()
        self.is_linked = False

    async def take_lead(self) -> None:
        """Return when the session holds the leader's lock. Raises ``PgLost``."""
        loop = asyncio.get_running_loop()
        next_look = loop.time()
        while not await self._session.try_lead():
            if loop.time() >= next_look:
                await self._look_at_leader()
                next_look = loop.time() + LOOK_SECONDS
            await asyncio.sleep(POLL_SECONDS)

    async def _look_at_leader(self) -> None:
        """End the leader's session if it has shown no sign of life for too long."""
        try:
            sign, database = await self._sign.see()
            self.is_linked = True
            pid = await self._session.leader_pid()
            now = asyncio.get_running_loop().time()
            waits = database not in ("", self._database)
            if pid is None or not self._watch.is_dead(
                holder=pid, sign=sign, now=now, waits=waits
            ):
                return
            if await self._sign.see_elsewhere() != (sign, database):
                self._watch.start_anew()
                return
        except RedisLost:
            self.is_linked = False
            self._watch.start_anew()
            return
        ended = await self._session.end_leader(pid)
        log.warning("the leader shows no sign of life", extra={"pid": pid, "ended": ended})
        self._watch.start_anew()


async def send_heartbeats(
    session: Session, sign: LeaderHeartbeat, may_show: Callable[[], bool]
) -> None:
    """Show, each second, that this leader lives and both its links answer. Never returns.

    A leader that must not lead yet shows nothing. Raises ``PgLost``.
    """
    for number in count():
        await session.answer()
        if may_show():
            with suppress(RedisLost):  # the leader's own work tells of it, and waits it out
                await sign.show(number)
        await asyncio.sleep(SIGN_SECONDS)

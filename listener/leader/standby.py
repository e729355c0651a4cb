"""A standby takes the leader's lock when it is free, and ends the session of a frozen leader.

A leader's heartbeats tell standbys that it is not frozen.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from itertools import count
from typing import Final

from listener.leader.session import Session
from listener.leader.takeover import LeaderWatch
from shared.links.redis_link import Client, RedisLost, translated_errors

LOCK_POLL_SECONDS: Final = 0.05
LEADER_CHECK_SECONDS: Final = 1.0
LEADER_HEARTBEAT_SECONDS: Final = 1.0
# Shorter than a standby's patience: when Redis is back, a leader's heartbeat comes in time.
REDIS_SECONDS: Final = 2.0

log = logging.getLogger(__name__)


class LeaderHeartbeat:
    """The leader's heartbeat in the stored state in Redis, written and read within a deadline.

    Every method raises ``RedisLost``.
    """

    def __init__(self, client: Client, state_key: str, *, name: str) -> None:
        self._client = client
        self._key = state_key
        self._name = name

    async def write(self, number: int) -> None:
        """Write a heartbeat; each number makes another one."""
        async with self._in_time():
            await self._client.hset(self._key, "alive", f"{self._name}.{number}")

    async def read(self) -> tuple[str, str]:
        """The newest heartbeat, and the database of the leader that wrote it ("": unknown).

        Writes too: a missing heartbeat is the leader's fault only where a standby could have
        written one itself.
        """
        async with (
            self._in_time(),
            self._client.pipeline(transaction=False) as pipeline,
        ):
            pipeline.hset(self._key, "seen_by", self._name)  # type: ignore[unused-awaitable]
            pipeline.hget(self._key, "alive")  # type: ignore[unused-awaitable]
            pipeline.hget(self._key, "database")  # type: ignore[unused-awaitable]
            _, heartbeat, database = await pipeline.execute()
            return str(heartbeat), (database or b"").decode(errors="replace")

    async def read_on_new_connection(self) -> tuple[str, str]:
        """Read again on a new connection: the address may lead to another server by now."""
        await self._client.drop_connections()
        return await self.read()

    @asynccontextmanager
    async def _in_time(self) -> AsyncIterator[None]:
        async with translated_errors(self._client), asyncio.timeout(REDIS_SECONDS):
            yield


class Standby:
    """Waits for the leader's lock on its own LISTEN session.

    ``is_linked``: Redis accepts its writes.
    """

    is_refused = False

    def __init__(self, session: Session, heartbeat: LeaderHeartbeat, *, database: str) -> None:
        self._session = session
        self._heartbeat = heartbeat
        self._database = database
        self._watch = LeaderWatch()
        self.is_linked = False

    async def take_lead(self) -> None:
        """Return when the session holds the leader's lock. Raises ``PgLost``."""
        loop = asyncio.get_running_loop()
        next_check = loop.time()
        while not await self._session.try_lead():
            if loop.time() >= next_check:
                await self._check_leader()
                next_check = loop.time() + LEADER_CHECK_SECONDS
            await asyncio.sleep(LOCK_POLL_SECONDS)

    async def _check_leader(self) -> None:
        """End the leader's session if it has sent no heartbeat for too long."""
        try:
            heartbeat, database = await self._heartbeat.read()
            self.is_linked = True
            pid = await self._session.leader_pid()
            now = asyncio.get_running_loop().time()
            is_waiting = database not in ("", self._database)
            if pid is None or not self._watch.is_dead(
                holder=pid, heartbeat=heartbeat, now=now, is_waiting=is_waiting
            ):
                return
            if await self._heartbeat.read_on_new_connection() != (heartbeat, database):
                self._watch.restart()
                return
        except RedisLost:
            self.is_linked = False
            self._watch.restart()
            return
        ended = await self._session.end_leader(pid)
        log.warning("the leader sends no heartbeat", extra={"pid": pid, "ended": ended})
        self._watch.restart()


async def send_heartbeats(
    session: Session, heartbeat: LeaderHeartbeat, may_send: Callable[[], bool]
) -> None:
    """Write a heartbeat each second while both links answer. Never returns.

    A leader that must not lead yet writes none. Raises ``PgLost``.
    """
    for number in count():
        await session.ping()
        if may_send():
            with suppress(RedisLost):  # the leader itself logs the loss, and waits it out
                await heartbeat.write(number)
        await asyncio.sleep(LEADER_HEARTBEAT_SECONDS)

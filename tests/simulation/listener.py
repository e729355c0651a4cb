"""A listener: the real leader on models of servers.

Only ``listener.app`` (who leads, and for how long) is mirrored here.
"""

import asyncio
from contextlib import suppress
from functools import partial
from typing import Any

from prometheus_client import CollectorRegistry

from listener.leader.cluster_publisher import ClusterPublisher
from listener.leader.leader import Leader
from listener.leader.metrics import LeaderMetrics
from listener.leader.notifications import Notifications
from listener.leader.publication import PublicationRules
from listener.leader.publisher import Publisher
from listener.links.pg_link import PgLost
from tests.simulation import database
from tests.simulation.servers import MAX_ROWS, RULES, TTL_SECONDS, Servers


class Listener:
    """One listener process, as ``listener.app`` runs it."""

    def __init__(self, servers: Servers, name: str) -> None:
        self.name = name
        self._servers = servers
        self._metrics = LeaderMetrics(CollectorRegistry())
        self._noticed = asyncio.Event()
        self.session: int | None = None
        self.task: asyncio.Task[None] = servers.loop.create_task(self._run())
        servers.loop.settle()

    @property
    def is_leading(self) -> bool:
        return self.session is not None and self.session == self._servers.database.lock

    def kill(self) -> None:
        self._servers.loop.do(self.task.cancel)

    def notice(self) -> None:
        """Notice that its session is over, if it is."""
        if self.session is not None and not self.is_leading:
            self._servers.loop.do(self._noticed.set)

    async def _run(self) -> None:
        while True:
            with suppress(OSError):
                await self._servers.calls.make(self.name, "postgres", "lock", self._try_lock)
            if not self.is_leading:
                continue
            self._noticed.clear()
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._watch_session())
                    await self._make_leader().lead()
            except* PgLost:
                if self.is_leading:
                    self._servers.database.lock = None
            self.session = None

    def _try_lock(self) -> None:
        database = self._servers.database
        if database.lock is None:
            database.session += 1
            database.lock = self.session = database.session

    async def _watch_session(self) -> None:
        await self._noticed.wait()
        raise PgLost("the session was ended")

    def _make_leader(self) -> Leader:
        connection: Any = database.Connection(
            self._servers.database, self._servers.calls, self.name
        )
        redis = self._servers.access(self.name)
        rules = PublicationRules(RULES, frozenset({"project"}), MAX_ROWS)
        make = partial(ClusterPublisher, nodes=redis.nodes) if redis.nodes else Publisher
        publisher = make(redis, rules=rules, leader=self.name, ttl_seconds=TTL_SECONDS)
        mailbox = Notifications(rules, CollectorRegistry())
        return Leader(
            connection,
            connection,
            publisher,
            mailbox,
            rules,
            self._metrics,
            database=database.ID,
        )

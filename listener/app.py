"""Builds the listener and runs it: one leads, the others stand by."""

import asyncio
import logging
import os
import socket
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry

from listener.leader.change_log import ChangeLog
from listener.leader.leader import Leader
from listener.leader.metrics import LeaderMetrics
from listener.leader.notifications import Notifications
from listener.leader.project_members import ProjectMembers
from listener.leader.publication import PublicationRules
from listener.leader.publisher import Publisher
from listener.leader.standby import LeaderHeartbeat, Standby, send_heartbeats
from listener.links.pg_link import Connection, NotAdmitted, PgLost, open_links
from listener.settings import ListenerSettings
from shared.http.server import health_routes, serve
from shared.links import redis_link
from shared.protocol.channels import RedisNames
from shared.runtime.backoff import Backoff
from shared.runtime.lifecycle import raise_if_cancelled, run_until

log = logging.getLogger(__name__)


class Listener:
    """One process: connects, stands by for the leader's lock, leads, and starts over when a
    link is lost.
    """

    def __init__(
        self,
        settings: ListenerSettings,
        rules: PublicationRules,
    ) -> None:
        self._settings = settings
        self._rules = rules
        self.registry = CollectorRegistry()
        self._metrics = LeaderMetrics(self.registry)
        self._mailbox = Notifications(rules, self.registry, takes_raw=settings.raw_notify)
        self._name = f"{socket.gethostname()}:{os.getpid()}"
        self._role = "connecting"
        self._part: Standby | Leader | None = None
        self._was_admitted = False
        self._is_verified = False

    def ready(self) -> tuple[bool, dict[str, Any]]:
        """Leader and standby are ready alike: a standby is what takes over."""
        part = self._part
        linked = part is not None and part.is_linked
        refused = part is not None and part.is_refused
        return linked and not refused, {
            "role": self._role,
            "redis": linked,
            "prefix_taken": refused,
        }

    async def run(self, stop: asyncio.Event) -> None:
        """Returns when *stop* is set. Raises ``FatalError`` (in a group)."""
        await run_until(stop, self._serve_health(), self._stay_linked())

    async def _serve_health(self) -> None:
        app = web.Application()
        app.add_routes(health_routes(self.registry, self.ready))
        await serve(app, "0.0.0.0", self._settings.health_port, setting="HEALTH_PORT")  # noqa: S104 probes come from outside

    async def _stay_linked(self) -> None:
        backoff = Backoff()
        client = redis_link.connect(self._settings.redis_url.get_secret_value())
        try:
            while True:
                try:
                    await self._on_links(client, backoff)
                except* (PgLost, NotAdmitted) as group:
                    if group.subgroup(NotAdmitted) and not self._was_admitted:
                        raise
                    delay = backoff.next_delay()
                    log.warning(
                        "postgresql lost",
                        extra={
                            "reason": str(group.exceptions[0]),
                            "delay_seconds": round(delay, 3),
                        },
                    )
                    await asyncio.sleep(delay)
                finally:
                    self._become("connecting", None)
                raise_if_cancelled()
        finally:
            await client.aclose()

    async def _on_links(self, client: redis_link.Client, backoff: Backoff) -> None:
        async with open_links(self._settings.database_url.get_secret_value()) as (
            session,
            connection,
        ):
            membership = ProjectMembers(connection, self._rules.access)
            if not self._is_verified:
                # Once: what a migration breaks later is waited out, and ends no listener.
                await membership.verify()
                self._is_verified = True
            await session.listen(self._mailbox.receive)
            backoff.reset()
            self._was_admitted = True  # if that ends, the password is being changed, say
            database = await session.database()
            names = RedisNames(self._settings.redis_prefix)
            sign = LeaderHeartbeat(client, names.state, name=self._name)
            standby = Standby(session, sign, database=database)
            self._become("standby", standby)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(session.watch())
                await standby.take_lead()
                leader = self._make_leader(connection, membership, client, names, database)
                self._become("leader", leader)
                tasks.create_task(send_heartbeats(session, sign, lambda: not leader.is_refused))
                await leader.lead()

    def _make_leader(
        self,
        connection: Connection,
        membership: ProjectMembers,
        client: redis_link.Client,
        names: RedisNames,
        database: str,
    ) -> Leader:
        publisher = Publisher(
            client,
            names,
            self._rules,
            leader=self._name,
            ttl_seconds=self._settings.replay_ttl_seconds,
        )
        return Leader(
            ChangeLog(connection, self._rules),
            membership,
            publisher,
            self._mailbox,
            self._rules,
            self._metrics,
            database=database,
        )

    def _become(self, role: str, part: Standby | Leader | None) -> None:
        self._part = part
        if role != self._role:
            log.info("role", extra={"role": role})
        self._role = role
        self._metrics.is_leader.set(role == "leader")

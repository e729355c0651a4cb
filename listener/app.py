"""Builds and runs a listener: one process leads, the others stand by."""

import asyncio
import logging
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry, Gauge

from listener.leader.change_log import ChangeLog
from listener.leader.cluster_publisher import ClusterPublisher
from listener.leader.leader import Leader
from listener.leader.metrics import LeaderMetrics
from listener.leader.notifications import Notifications
from listener.leader.project_members import ProjectMembers
from listener.leader.publication import PublicationRules
from listener.leader.publisher import Publisher
from listener.leader.session import open_links
from listener.leader.standby import LeaderHeartbeat, Standby, send_heartbeats
from listener.leader.tracing import LeaderTracing
from listener.links.pg_link import Connection, NotAdmitted, PgLost
from listener.settings import ListenerSettings
from shared.http.server import health_routes, serve
from shared.links.redis_access import RedisAccess, open_redis
from shared.links.status_board import RedisClock, StatusReporter, process_name
from shared.runtime.backoff import Backoff
from shared.runtime.counter_values import count_of, counts_by_label
from shared.runtime.lifecycle import raise_if_cancelled, run_until
from shared.runtime.process_metrics import ProcessMetrics
from shared.runtime.recent_history import RecentHistory
from shared.runtime.tracing import open_tracing

log = logging.getLogger(__name__)


class Listener:
    """One process: connects, waits for the leader's lock, leads, and starts over when a link is
    lost.
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
        Gauge(
            "neverstale_redis_linked",
            "1 while Redis serves this process",
            registry=self.registry,
        ).set_function(lambda: self._current is not None and self._current.is_linked)
        self._notifications = Notifications(rules, self.registry, takes_raw=settings.raw_notify)
        self._name = process_name()
        self._history = RecentHistory()
        self._role = "connecting"
        self._current: Standby | Leader | None = None
        self._tracing: LeaderTracing | None = None
        self._was_admitted = False
        self._is_verified = False

    def ready(self) -> tuple[bool, dict[str, Any]]:
        """Whether it can lead, or take over, and the details. A standby is ready as well."""
        current = self._current
        linked = current is not None and current.is_linked
        refused = current is not None and current.is_refused
        return linked and not refused, {
            "role": self._role,
            "redis": linked,
            "prefix_taken": refused,
        }

    async def run(self, stop: asyncio.Event) -> None:
        """Run until *stop* is set. Raises ``FatalError`` (in a group)."""
        with open_tracing("neverstale-listener", self._settings.trace_ratio) as spans:
            self._tracing = LeaderTracing(spans, self._rules.resources) if spans else None
            await self._run(stop)

    async def _run(self, stop: asyncio.Event) -> None:
        async with self._open_redis() as redis:
            reporter = StatusReporter(redis.connect(), redis.names, "listener", self._describe)
            await run_until(
                stop,
                self._serve_health(),
                self._stay_linked(),
                reporter.run(),
                ProcessMetrics(self.registry).run(),
            )

    def _open_redis(self) -> AbstractAsyncContextManager[RedisAccess]:
        settings = self._settings
        return open_redis(
            settings.redis_url.get_secret_value(),
            settings.redis_prefix,
            is_cluster=settings.redis_cluster,
        )

    def _describe(self, clock: RedisClock) -> dict[str, Any]:
        """Return the status of the second that has passed; to be called once a second."""
        metrics, history, current = self._metrics, self._history, self._current
        lags = list(metrics.recent_lags)
        metrics.recent_lags.clear()
        history.add_total("events", count_of(metrics.events))
        history.add_milliseconds("publish", lags)
        history.note_resets(counts_by_label(metrics.resets), at=clock.seconds)
        status: dict[str, Any] = {"state": self._role, "redis": self.ready()[1]["redis"]}
        if isinstance(current, Leader):
            status |= {"live": current.is_live, "lag_ms": current.lag_ms}
            status |= {"redis_nodes": current.redis_nodes}
        return {**status, "series": history.series, "resets": history.resets}

    async def _serve_health(self) -> None:
        app = web.Application()
        app.add_routes(health_routes(self.registry, self.ready))
        await serve(app, "0.0.0.0", self._settings.health_port, setting="HEALTH_PORT")  # noqa: S104 probes come from outside

    async def _stay_linked(self) -> None:
        backoff = Backoff()
        async with self._open_redis() as redis:
            while True:
                try:
                    await self._on_links(redis, backoff)
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

    async def _on_links(self, redis: RedisAccess, backoff: Backoff) -> None:
        async with open_links(self._settings.database_url.get_secret_value()) as (
            session,
            connection,
        ):
            members = ProjectMembers(connection, self._rules.access)
            if not self._is_verified:
                # Once: if a migration breaks the query later, the leader waits for its repair.
                await members.verify()
                self._is_verified = True
            await session.listen(self._notifications.receive)
            backoff.reset()
            self._was_admitted = True  # a later refusal may pass: a password being changed
            database = await session.database()
            heartbeat = LeaderHeartbeat(redis.client, redis.names.state, name=self._name)
            standby = Standby(session, heartbeat, database=database)
            self._become("standby", standby)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(session.raise_when_lost())
                await standby.take_lead()
                leader = self._make_leader(connection, members, redis, database)
                self._become("leader", leader)
                tasks.create_task(
                    send_heartbeats(session, heartbeat, lambda: not leader.is_refused)
                )
                await leader.lead()

    def _make_leader(
        self,
        connection: Connection,
        members: ProjectMembers,
        redis: RedisAccess,
        database: str,
    ) -> Leader:
        make = partial(ClusterPublisher, nodes=redis.nodes) if redis.nodes else Publisher
        publisher = make(
            redis,
            rules=self._rules,
            leader=self._name,
            ttl_seconds=self._settings.replay_ttl_seconds,
            tracing=self._tracing,
        )
        return Leader(
            ChangeLog(connection, self._rules),
            members,
            publisher,
            self._notifications,
            self._rules,
            self._metrics,
            database=database,
            tracing=self._tracing,
        )

    def _become(self, role: str, current: Standby | Leader | None) -> None:
        self._current = current
        if role != self._role:
            log.info("role", extra={"role": role})
        self._role = role
        self._metrics.is_leader.set(role == "leader")
        if role != "leader":
            self._metrics.log_size.size = None

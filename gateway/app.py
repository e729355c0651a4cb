"""Build the gateway from its parts, and run it."""

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Optional

from aiohttp import web
from prometheus_client import CollectorRegistry, Gauge

from gateway.access.checker import AccessChecker
from gateway.access.database import Pool, open_pool
from gateway.access.revalidation import Revalidator
from gateway.auth.key_sources import KeySource
from gateway.auth.tickets import Tickets
from gateway.auth.token_rules import TokenRules
from gateway.auth.token_verifier import TokenVerifier
from gateway.delivery.fanout import Fanout
from gateway.delivery.redis_parts import redis_parts
from gateway.http.admin_api import DISCONNECT_PATH, AdminApi
from gateway.http.admin_key import AdminKey
from gateway.http.admission import Admission
from gateway.http.application import Readiness, make_application
from gateway.http.connection_records import ConnectionRecords
from gateway.http.connection_sweep import ConnectionSweep
from gateway.http.cors import preflight_route
from gateway.http.endpoint import SSE_PATH, ClientEndpoint
from gateway.http.handshake import TokenSources
from gateway.http.message_handler import MessageHandler
from gateway.http.open_connections import OpenConnections
from gateway.http.own_status import OwnStatus
from gateway.http.project_access import ProjectAccess
from gateway.http.status_api import LOGIN_PATH, LOGOUT_PATH, StatusApi
from gateway.http.ticket_api import TICKET_PATH, TicketApi
from gateway.limits.connection_limiter import ConnectionLimiter, ConnectionLimits
from gateway.limits.rates import SocketLimits
from gateway.metrics import FanoutMetrics, LinkMetrics
from gateway.settings import GatewaySettings
from gateway.workers.health import WorkerHealth
from gateway.workers.supervisor import Worker
from shared.config.access_rules import AccessRules
from shared.http.connection_limits import HttpLimits
from shared.http.server import health_routes, serve
from shared.links.database_url import parse_database_url
from shared.links.redis_access import RedisAccess, open_redis
from shared.links.status_board import StatusReporter
from shared.protocol.channels import IdType
from shared.runtime.lifecycle import run_until, tasks_of_body
from shared.runtime.process_metrics import ProcessMetrics
from shared.runtime.tracing import open_tracing

if TYPE_CHECKING:
    from shared.runtime.spans import Spans

WORKER_READY_SECONDS: Final = 5.0


async def run_gateway(
    settings: GatewaySettings,
    keys: KeySource,
    rules: AccessRules,
    stop: asyncio.Event,
    worker: Worker | None = None,
) -> None:
    """Serve until *stop* is set and all connections are closed.

    A *worker* is one of several processes that serve one port.

    Raises:
        FatalError: the gateway can't go on (in an exception group).
    """
    with open_tracing("neverstale-gateway", settings.trace_ratio) as spans:
        async with (
            open_redis(
                settings.redis_url.get_secret_value(),
                settings.redis_prefix,
                is_cluster=settings.redis_cluster,
            ) as redis,
            open_pool(settings.database_url.get_secret_value()) as pool,
            tasks_of_body() as tasks,
        ):
            await _Gateway(settings, keys, rules, pool, redis, tasks, worker, spans).run(stop)


class _Gateway:
    """The parts of one gateway, and the tasks that they need."""

    def __init__(
        self,
        settings: GatewaySettings,
        keys: KeySource,
        rules: AccessRules,
        pool: Pool,
        redis: RedisAccess,
        tasks: asyncio.TaskGroup,
        worker: Worker | None,
        spans: Optional["Spans"],
    ) -> None:
        self._settings = settings
        self._keys = keys
        self._rules = rules
        self._redis = redis
        self._client, self._names = redis.client, redis.names
        self._tasks = tasks
        self._registry = CollectorRegistry()
        self._redis_parts = redis_parts(redis, ttl_seconds=settings.replay_ttl_seconds)
        metrics = FanoutMetrics(self._registry)
        self._fanout = Fanout(
            self._redis_parts.logs,
            self._names,
            metrics,
            tasks,
            spread_seconds=settings.reset_spread_seconds,
            slow_seconds=settings.slow_client_seconds,
            cluster=self._redis_parts.channels,
            spans=spans,
        )
        path = parse_database_url(settings.database_url.get_secret_value()).search_path
        self._checker = AccessChecker(pool, rules, self._registry, search_path=path)
        self._revalidator = Revalidator(
            self._checker, self._fanout.project_subscriptions, self._registry, tasks
        )
        self._verifier = TokenVerifier(keys, token_rules(settings, rules.user_type))
        self._limiter = _connection_limiter(settings)
        self._records = ConnectionRecords(self._registry)
        self._connections = OpenConnections(self._records, drain_seconds=settings.drain_seconds)
        Gauge(
            "neverstale_keys_degraded",
            "1 while the keys of tokens could not be read lately, or never",
            registry=self._registry,
        ).set_function(lambda: keys.state != "ok")
        self._worker = worker
        self._readiness = Readiness(self._connections, self._fanout, self._checker, keys)
        self._reporter = StatusReporter(
            redis.connect(),
            self._names,
            "gateway",
            OwnStatus(
                self._fanout, metrics, self._readiness, self._redis_parts.linked_nodes
            ).describe,
        )
        self._worker_health = (
            WorkerHealth(worker, self._registry, self._readiness.check) if worker else None
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until *stop* is set and all connections are closed."""
        drained = asyncio.Event()
        self._tasks.create_task(self._checker.verify())
        self._tasks.create_task(self._connections.drain_when(stop, drained))
        broker = self._redis_parts.make_broker(
            self._fanout,
            self._revalidator,
            self._connections.disconnect,
            LinkMetrics(self._registry),
        )
        await run_until(
            drained,
            self._keys.run(),
            self._checker.run(),
            self._revalidator.run_safety_rechecks(),
            ConnectionSweep(self._verifier, self._connections).run(),
            self._fanout.run(),
            broker.run(),
            self._records.run(),
            ProcessMetrics(self._registry).run(),
            self._reporter.run(),
            self._serve(),
            *([self._answer_siblings(self._worker_health)] if self._worker_health else []),
        )

    async def _answer_siblings(self, health: WorkerHealth) -> None:
        await self._until_ready()  # until then this worker counts as being replaced
        await health.run()

    async def _serve(self) -> None:
        settings = self._settings
        endpoint, routes = self._make_endpoint()
        health = (
            self._worker_health.routes()
            if self._worker_health
            else health_routes(self._registry, self._readiness.check)
        )
        if self._worker is not None:
            await self._until_ready()
        await serve(
            make_application(endpoint, health + routes),
            settings.host,
            settings.port,
            setting="PORT",
            limits=_http_limits(settings, self._limiter),
            registry=self._registry,
            sockets=self._worker.sockets if self._worker else (),
            upgrades=endpoint,
        )

    async def _until_ready(self) -> None:
        """Wait, but not for long, until this process may take traffic.

        The kernel sends a new worker its share of the connections at once, whatever ``/readyz``
        says. They wait in the socket's queue meanwhile.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(WORKER_READY_SECONDS):
                while not self._readiness.check()[0]:  # noqa: ASYNC110 no event
                    await asyncio.sleep(WORKER_READY_SECONDS / 100)

    def _make_endpoint(self) -> tuple[ClientEndpoint, list[web.RouteDef]]:
        """The endpoint of all clients, and the routes of the HTTP APIs."""
        settings, project_type = self._settings, self._rules.project_type
        access = ProjectAccess(self._checker, self._revalidator)
        limits = SocketLimits.plan(
            settings.max_message_bytes,
            settings.max_projects_per_socket,
            settings.max_messages_per_second,
        )
        admission = Admission(
            self._verifier,
            TokenSources(settings.allowed_origins, settings.allow_query_token),
            Tickets(self._client, self._names),
            access,
            self._fanout,
            self._limiter,
            project_type,
            limits.max_projects,
        )
        endpoint = ClientEndpoint(
            admission,
            self._limiter,
            access,
            self._fanout,
            MessageHandler(
                self._verifier, access, self._revalidator, self._fanout, limits, project_type
            ),
            self._connections,
            limits,
            settings.allowed_origins,
            self._registry,
            self._tasks,
        )
        preflight = preflight_route(
            SSE_PATH, "GET", "Authorization, Last-Event-ID", settings.allowed_origins
        )
        return endpoint, [preflight, *self._api_routes(admission)]

    def _api_routes(self, admission: Admission) -> list[web.RouteDef]:
        settings, rules = self._settings, self._rules
        tickets = TicketApi(
            admission,
            self._limiter,
            settings.allowed_origins,
            rules.project_type,
            self._registry,
        )
        if settings.admin_key is None:
            return tickets.routes
        clock = asyncio.get_running_loop().time
        key = AdminKey(settings.admin_key.get_secret_value(), self._limiter, clock=clock)
        admin = AdminApi(key, self._client, self._names, rules.user_type)
        status = StatusApi(key, self._redis, self._limiter)
        return tickets.routes + admin.routes + status.routes


def token_rules(settings: GatewaySettings, user_type: IdType) -> TokenRules:
    """Return the rules of tokens that the settings make."""
    return TokenRules(
        issuer=settings.jwt_issuer,
        audience=settings.jwt_audience,
        user_claim=settings.jwt_user_claim,
        user_type=user_type,
        leeway_seconds=settings.jwt_leeway_seconds,
    )


def _connection_limiter(settings: GatewaySettings) -> ConnectionLimiter:
    limits = ConnectionLimits(
        max_sockets=settings.max_sockets,
        max_per_address=settings.max_sockets_per_address,
        max_per_user=settings.max_sockets_per_user,
        max_failures=settings.max_failed_authentications,
    )
    clock = asyncio.get_running_loop().time
    return ConnectionLimiter(
        limits, settings.trusted_proxies, settings.client_address_header, clock
    )


def _http_limits(settings: GatewaySettings, limiter: ConnectionLimiter) -> HttpLimits:
    return HttpLimits(
        max_connections=settings.max_http_connections,
        max_per_address=settings.max_sockets_per_address,
        max_sockets=settings.max_sockets,
        request_seconds=settings.handshake_seconds,
        address_of=limiter.address_of_peer,
        body_paths=(TICKET_PATH, DISCONNECT_PATH, LOGIN_PATH, LOGOUT_PATH),
    )

"""Build the gateway from its parts, and run it."""

import asyncio

from aiohttp import web
from prometheus_client import CollectorRegistry

from gateway.access.checker import AccessChecker
from gateway.access.database import Pool, open_pool
from gateway.access.revalidation import Revalidator
from gateway.auth.key_sources import KeySource
from gateway.auth.tickets import Tickets
from gateway.auth.token_rules import TokenRules
from gateway.auth.token_verifier import TokenVerifier
from gateway.delivery.broker import Broker
from gateway.delivery.channel_logs import ChannelLogs
from gateway.delivery.fanout import Fanout
from gateway.http.admin_api import DISCONNECT_PATH, AdminApi
from gateway.http.admission import Admission
from gateway.http.application import Readiness, make_application
from gateway.http.connection_sweep import ConnectionSweep
from gateway.http.endpoint import WebSocketEndpoint
from gateway.http.handshake import TokenSources
from gateway.http.message_handler import MessageHandler
from gateway.http.open_connections import OpenConnections
from gateway.http.project_access import ProjectAccess
from gateway.http.ticket_api import TICKET_PATH, TicketApi
from gateway.limits.connection_limiter import ConnectionLimiter, ConnectionLimits
from gateway.limits.rates import SocketLimits
from gateway.metrics import FanoutMetrics
from gateway.settings import GatewaySettings
from shared.config.access_rules import AccessRules
from shared.http.connection_limits import HttpLimits
from shared.http.server import serve
from shared.links import redis_link
from shared.links.database_url import parse_database_url
from shared.protocol.channels import IdType, RedisNames
from shared.runtime.lifecycle import run_until


async def run_gateway(
    settings: GatewaySettings, keys: KeySource, rules: AccessRules, stop: asyncio.Event
) -> None:
    """Serve until *stop* is set and all connections are closed.

    Raises:
        FatalError: the gateway can't go on (in an exception group).
    """
    client = redis_link.connect(settings.redis_url.get_secret_value())
    try:
        async with (
            open_pool(settings.database_url.get_secret_value()) as pool,
            asyncio.TaskGroup() as tasks,
        ):
            await _Gateway(settings, keys, rules, pool, client, tasks).run(stop)
    finally:
        await client.aclose()


class _Gateway:
    """The parts of one gateway, and the tasks that they need."""

    def __init__(
        self,
        settings: GatewaySettings,
        keys: KeySource,
        rules: AccessRules,
        pool: Pool,
        client: redis_link.Client,
        tasks: asyncio.TaskGroup,
    ) -> None:
        self._settings = settings
        self._keys = keys
        self._rules = rules
        self._client = client
        self._tasks = tasks
        self._names = RedisNames(settings.redis_prefix)
        self._registry = CollectorRegistry()
        self._fanout = Fanout(
            ChannelLogs(client, self._names, ttl_seconds=settings.replay_ttl_seconds),
            self._names,
            FanoutMetrics(self._registry),
            tasks,
            spread_seconds=settings.reset_spread_seconds,
            slow_seconds=settings.slow_client_seconds,
        )
        path = parse_database_url(settings.database_url.get_secret_value()).search_path
        self._checker = AccessChecker(pool, rules, self._registry, search_path=path)
        self._revalidator = Revalidator(
            self._checker, self._fanout.project_subscriptions, self._registry, tasks
        )
        self._verifier = TokenVerifier(keys, _token_rules(settings, rules.user_type))
        self._limiter = _connection_limiter(settings)
        self._connections = OpenConnections(drain_seconds=settings.drain_seconds)

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until *stop* is set and all connections are closed."""
        settings, client = self._settings, self._client
        drained = asyncio.Event()
        self._tasks.create_task(self._checker.verify())
        self._tasks.create_task(self._connections.drain_when(stop, drained))
        endpoint, routes = self._make_endpoint()
        readiness = Readiness(self._connections, self._fanout, self._checker, self._keys)
        broker = Broker(
            settings.redis_url.get_secret_value(),
            client,
            self._names,
            self._fanout,
            self._revalidator,
            self._connections.disconnect,
        )
        await run_until(
            drained,
            self._keys.run(),
            self._checker.run(),
            self._revalidator.run_safety_rechecks(),
            ConnectionSweep(self._verifier, self._connections).run(),
            self._fanout.run(),
            broker.run(),
            serve(
                make_application(endpoint, readiness, routes, self._registry),
                settings.host,
                settings.port,
                setting="PORT",
                limits=_http_limits(settings, self._limiter),
                registry=self._registry,
                upgrades=endpoint,
            ),
        )

    def _make_endpoint(self) -> tuple[WebSocketEndpoint, list[web.RouteDef]]:
        """The WebSocket endpoint, and the routes of the HTTP APIs."""
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
        )
        endpoint = WebSocketEndpoint(
            admission,
            self._limiter,
            access,
            self._fanout,
            MessageHandler(
                self._verifier, access, self._revalidator, self._fanout, limits, project_type
            ),
            self._connections,
            limits,
            self._registry,
            self._tasks,
        )
        return endpoint, self._api_routes(admission)

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
        key = settings.admin_key.get_secret_value()
        admin = AdminApi(key, self._client, self._names, self._limiter, rules.user_type)
        return tickets.routes + admin.routes


def _token_rules(settings: GatewaySettings, user_type: IdType) -> TokenRules:
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
        body_paths=(TICKET_PATH, DISCONNECT_PATH),
    )

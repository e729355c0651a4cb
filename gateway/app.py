"""Builds the gateway and serves it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiohttp import web
from prometheus_client import CollectorRegistry

from gateway.access.checker import AccessChecker
from gateway.access.database import open_pool
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
from gateway.http.handshake import TokenSources
from gateway.http.ticket_api import TICKET_PATH, TicketApi
from gateway.http.websockets import WebSockets
from gateway.limits.connection_limiter import ConnectionLimiter, ConnectionLimits
from gateway.limits.rates import SocketLimits
from gateway.metrics import FanoutMetrics
from gateway.settings import GatewaySettings
from shared.config.access_rules import AccessRules
from shared.http.connection import MAX_BODY_BYTES, HttpLimits
from shared.http.errors import json_error
from shared.http.server import health_routes, serve
from shared.links import redis_link
from shared.links.database_url import parse_database_url
from shared.protocol.channels import IdType, RedisNames
from shared.runtime.lifecycle import run_until

WS_PATH: Final = "/api/v1/messages/ws"

log = logging.getLogger(__name__)


def make_application(
    sockets: WebSockets,
    fanout: Fanout,
    access: AccessChecker,
    keys: KeySource,
    registry: CollectorRegistry,
) -> web.Application:
    """The aiohttp application with all its routes."""

    def ready() -> tuple[bool, dict[str, Any]]:
        linked = fanout.can_subscribe
        # a dead listener is dead for every gateway: out of rotation none could help
        degraded = [] if fanout.is_live else ["listener"]
        degraded += ["keys"] if keys.state == "degraded" else []
        degraded += [] if access.is_available else ["database"]
        return linked and keys.state != "missing" and not sockets.draining, {
            "redis": linked,
            "keys": keys.state,
            "draining": sockets.draining,
            "degraded": degraded,
        }

    app = web.Application(middlewares=[_errors_as_json], client_max_size=MAX_BODY_BYTES)
    app.add_routes([web.get(WS_PATH, sockets.open)])
    app.add_routes(health_routes(registry, ready))
    return app


@web.middleware
async def _errors_as_json(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except ConnectionError:
        return web.Response(status=499)  # the client has gone: nobody reads this
    except web.HTTPException as exc:
        code = {404: "not_found", 405: "method_not_allowed"}.get(exc.status, "bad_request")
        return json_error(exc.status, code, exc.text or exc.reason)
    except Exception:
        log.exception("request failed", extra={"path": request.path})
        return json_error(500, "internal", "something went wrong here")


def _token_rules(settings: GatewaySettings, user_type: IdType) -> TokenRules:
    return TokenRules(
        issuer=settings.jwt_issuer,
        audience=settings.jwt_audience,
        user_claim=settings.jwt_user_claim,
        user_type=user_type,
        leeway_seconds=settings.jwt_leeway_seconds,
    )


def _open_door(settings: GatewaySettings) -> ConnectionLimiter:
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


def _limit_http(settings: GatewaySettings, door: ConnectionLimiter) -> HttpLimits:
    return HttpLimits(
        max_connections=settings.max_http_connections,
        max_per_address=settings.max_sockets_per_address,
        max_sockets=settings.max_sockets,
        request_seconds=settings.handshake_seconds,
        address_of=door.address_of_peer,
        body_paths=(TICKET_PATH, DISCONNECT_PATH),
    )


def _limit_sockets(settings: GatewaySettings) -> SocketLimits:
    return SocketLimits.plan(
        settings.max_message_bytes,
        settings.max_projects_per_socket,
        settings.max_messages_per_second,
    )


async def run_gateway(
    settings: GatewaySettings, keys: KeySource, rules: AccessRules, stop: asyncio.Event
) -> None:
    """Serve until *stop* is set and all sockets are closed.

    Raises ``FatalError`` (in a group).
    """
    names = RedisNames(settings.redis_prefix)
    database_url = settings.database_url.get_secret_value()
    redis_url = settings.redis_url.get_secret_value()
    client = redis_link.connect(redis_url)
    registry = CollectorRegistry()
    try:
        async with (
            open_pool(database_url) as pool,
            asyncio.TaskGroup() as tasks,
        ):
            fanout = Fanout(
                ChannelLogs(client, names, ttl_seconds=settings.replay_ttl_seconds),
                names,
                FanoutMetrics(registry),
                tasks,
                spread_seconds=settings.reset_spread_seconds,
                slow_seconds=settings.slow_client_seconds,
            )
            verifier = TokenVerifier(keys, _token_rules(settings, rules.user_type))
            sources = TokenSources(settings.allowed_origins, settings.allow_query_token)
            path = parse_database_url(database_url).search_path
            access = AccessChecker(pool, rules, registry, search_path=path)
            guard = Revalidator(access, fanout.project_subscriptions, registry, tasks)
            door = _open_door(settings)
            tickets = Tickets(client, names)
            project_type = rules.project_type
            admission = Admission(
                verifier, sources, tickets, access, fanout, door, project_type
            )
            sockets = WebSockets(
                admission,
                verifier,
                access,
                fanout,
                guard,
                door,
                _limit_sockets(settings),
                project_type,
                registry,
                tasks,
                drain_seconds=settings.drain_seconds,
            )
            tasks.create_task(access.verify())
            drained = asyncio.Event()
            tasks.create_task(sockets.drain_when(stop, drained))
            app = make_application(sockets, fanout, access, keys, registry)
            origins = settings.allowed_origins
            api = TicketApi(admission, door, origins, project_type, registry)
            app.add_routes(api.routes)
            if settings.admin_key is not None:
                key = settings.admin_key.get_secret_value()
                app.add_routes(AdminApi(key, client, names, door, rules.user_type).routes)
            await run_until(
                drained,
                keys.run(),
                access.run(),
                guard.run_safety_rechecks(),
                sockets.watch_tokens(),
                fanout.run(),
                Broker(redis_url, client, names, fanout, guard, sockets.disconnect).run(),
                serve(
                    app,
                    settings.host,
                    settings.port,
                    setting="PORT",
                    limits=_limit_http(settings, door),
                    registry=registry,
                ),
            )
    finally:
        await client.aclose()

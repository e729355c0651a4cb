"""Builds the gateway and serves it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter

from gateway.access import Access, AccessUnavailable, open_pool
from gateway.connection import Connection
from gateway.core.handshake import NOT_A_WEBSOCKET, Offer, TokenSources
from gateway.core.token_rules import TokenRules
from gateway.fanout import Fanout, FanoutMetrics
from gateway.keys import KeySource
from gateway.settings import GatewaySettings
from gateway.subscriber import Subscriber
from gateway.tokens import TokenVerifier
from shared import redis_link
from shared.core.access_rules import AccessRules
from shared.core.channels import Channel, IdType, RedisNames
from shared.core.close_codes import FORBIDDEN, CloseCode, Refusal, unavailable
from shared.core.protocol import error_body
from shared.http import health_routes, serve
from shared.lifecycle import run_until

JOIN_SECONDS: Final = 10.0
WS_PATH: Final = "/api/v1/messages/ws"
_DRAINING: Final = unavailable("the gateway is shutting down: connect again")
_NO_REDIS: Final = unavailable("Redis is away, or no listener has ever run: connect again")
_NO_DATABASE: Final = unavailable("the database is away: connect again")

log = logging.getLogger(__name__)


class Gateway:
    """One process: who comes is admitted or refused, and becomes a subscriber."""

    def __init__(
        self,
        keys: KeySource,
        verifier: TokenVerifier,
        token_sources: TokenSources,
        access: Access,
        fanout: Fanout,
        project_type: IdType,
        registry: CollectorRegistry,
        tasks: asyncio.TaskGroup,
    ) -> None:
        self._keys = keys
        self._verifier = verifier
        self._token_sources = token_sources
        self._access = access
        self._fanout = fanout
        self._project_type = project_type
        self._registry = registry
        self._tasks = tasks
        self._refused = Counter(
            "neverstale_refused_total", "Sockets refused", ["code"], registry=registry
        )
        self._connections: set[Connection] = set()
        self._draining = False

    def application(self) -> web.Application:
        """The aiohttp application; its shutdown closes all sockets with 1012."""
        app = web.Application(middlewares=[_errors_as_json])
        app.add_routes([web.get(WS_PATH, self._open_socket)])
        app.add_routes(health_routes(self._registry, self._ready))
        app.on_shutdown.append(self._drain)
        return app

    def _ready(self) -> tuple[bool, dict[str, Any]]:
        linked = self._fanout.can_subscribe
        keys = self._keys.state
        is_ready = linked and keys != "missing" and not self._draining
        return is_ready, {"redis": linked, "keys": keys, "draining": self._draining}

    async def _open_socket(self, request: web.Request) -> web.StreamResponse:
        offer = Offer(
            connection=request.headers.getall("Connection", ()),
            upgrade=request.headers.getall("Upgrade", ()),
            version=request.headers.getall("Sec-WebSocket-Version", ()),
            authorization=request.headers.getall("Authorization", ()),
            subprotocols=request.headers.getall("Sec-WebSocket-Protocol", ()),
            cookies=request.headers.getall("Cookie", ()),
            origin=request.headers.getall("Origin", ()),
            host=request.headers.getall("Host", ()),
            query_tokens=request.query.getall("token", ()),
            project_ids=[
                *request.query.getall("project_id", ()),
                *request.query.getall("projectId", ()),
            ],
        )
        admitted = await self._admit(offer)
        if isinstance(admitted, Refusal):
            return await self._refuse(request, offer, admitted)
        connection = await Connection.accept(request, self._tasks, is_v1=offer.is_v1)
        self._connections.add(connection)
        self._fanout.join(admitted, connection)
        try:
            await self._serve(connection)
        finally:
            self._fanout.leave(admitted, connection)
            self._connections.discard(connection)
        return connection.response

    async def _admit(self, offer: Offer) -> Channel | Refusal:
        """The channel that the client may hear, or why it may not."""
        if not offer.is_websocket:
            return NOT_A_WEBSOCKET
        token = offer.token(self._token_sources)
        if isinstance(token, Refusal):
            return token
        identity = await self._verifier.verify(token)
        if isinstance(identity, Refusal):
            return identity
        project_id = offer.project_id(self._project_type)
        if isinstance(project_id, Refusal):
            return project_id
        if self._draining:
            return _DRAINING
        if not self._fanout.can_subscribe:
            return _NO_REDIS
        try:
            allowed = await self._access.may_hear(project_id, identity.user_id)
        except AccessUnavailable as exc:
            log.warning("access could not be asked", extra={"reason": str(exc)})
            return _NO_DATABASE
        return Channel("project", project_id) if allowed else FORBIDDEN

    async def _refuse(
        self, request: web.Request, offer: Offer, refusal: Refusal
    ) -> web.StreamResponse:
        self._refused.labels(refusal.code).inc()
        if offer.is_websocket and offer.is_v1:
            connection = await Connection.accept(request, self._tasks, is_v1=True)
            await connection.refuse(refusal)
            return connection.response
        headers = {}
        if refusal is NOT_A_WEBSOCKET:
            # RFC 9110, section 15.5.22, and RFC 6455, section 4.2.2
            headers = {
                "Upgrade": "websocket",
                "Connection": "Upgrade",
                "Sec-WebSocket-Version": "13",
            }
        return _json_error(refusal.status, refusal.code, refusal.message, headers)

    async def _serve(self, connection: Connection) -> None:
        try:
            async with asyncio.timeout(JOIN_SECONDS):
                await connection.greeted.wait()
        except TimeoutError:
            await connection.refuse(_NO_REDIS)
        else:
            await connection.serve()

    async def _drain(self, _: web.Application) -> None:
        self._draining = True
        async with asyncio.TaskGroup() as closing:
            for connection in self._connections:
                closing.create_task(connection.close(CloseCode.DRAINING, "draining"))


@web.middleware
async def _errors_as_json(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except ConnectionResetError:
        return web.Response(status=499)  # the client has gone: nobody reads this
    except web.HTTPException as exc:
        code = {404: "not_found", 405: "method_not_allowed"}.get(exc.status, "bad_request")
        return _json_error(exc.status, code, exc.text or exc.reason, {})
    except Exception:
        log.exception("request failed", extra={"path": request.path})
        return _json_error(500, "internal", "something went wrong here", {})


def _json_error(
    status: int, code: str, message: str, headers: Mapping[str, str]
) -> web.Response:
    return web.Response(
        status=status,
        body=error_body(code, message),
        content_type="application/json",
        headers=headers,
    )


async def run_gateway(
    settings: GatewaySettings, keys: KeySource, rules: AccessRules, stop: asyncio.Event
) -> None:
    """Serve until *stop* is set and all sockets are closed.

    Raises ``FatalError`` (in a group).
    """
    names = RedisNames(settings.redis_prefix)
    redis_url = settings.redis_url.get_secret_value()
    client = redis_link.connect(redis_url)
    registry = CollectorRegistry()
    token_rules = TokenRules(
        issuer=settings.jwt_issuer,
        audience=settings.jwt_audience,
        user_claim=settings.jwt_user_claim,
        user_type=rules.user_type,
        leeway_seconds=settings.jwt_leeway_seconds,
    )
    try:
        async with (
            open_pool(settings.database_url.get_secret_value()) as pool,
            asyncio.TaskGroup() as tasks,
        ):
            fanout = Fanout(
                client,
                names,
                FanoutMetrics(registry),
                tasks,
                ttl_seconds=settings.replay_ttl_seconds,
            )
            gateway = Gateway(
                keys,
                TokenVerifier(keys, token_rules),
                TokenSources(settings.allowed_origins, settings.allow_query_token),
                Access(pool, rules),
                fanout,
                rules.project_type,
                registry,
                tasks,
            )
            await run_until(
                stop,
                keys.run(),
                Subscriber(redis_url, client, names, fanout).run(),
                serve(gateway.application(), settings.host, settings.port, setting="PORT"),
            )
    finally:
        await client.aclose()

"""Builds the gateway and serves it."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter

from gateway.access import Access, AccessUnavailable, open_pool
from gateway.connection import Connection
from gateway.core.handshake import NOT_A_WEBSOCKET, Offer, TokenSources
from gateway.core.session import (
    Message,
    Mistake,
    Ping,
    Subscribe,
    Unsubscribe,
    parse_message,
)
from gateway.core.token_rules import TokenRules
from gateway.fanout import Fanout, FanoutMetrics
from gateway.guard import Guard
from gateway.keys import KeySource
from gateway.settings import GatewaySettings
from gateway.subscriber import Subscriber
from gateway.tokens import TokenVerifier
from shared import redis_link
from shared.core.access_rules import AccessRules
from shared.core.channels import Channel, IdType, RedisNames
from shared.core.close_codes import FORBIDDEN, CloseCode, Refusal, unavailable
from shared.core.protocol import (
    PONG_FRAME,
    Recheck,
    encode_text_frame,
    error_body,
    error_frame,
    unsubscribed_frame,
)
from shared.core.replay import Since
from shared.http import health_routes, serve
from shared.lifecycle import run_until

JOIN_SECONDS: Final = 10.0
MAX_PROJECTS_PER_SOCKET: Final = 100
MIN_CLOSES_PER_SECOND: Final = 50
WS_PATH: Final = "/api/v1/messages/ws"
_DRAINING: Final = unavailable("the gateway is shutting down: connect again")
_NO_REDIS: Final = unavailable("Redis is away, or no listener has ever run: connect again")
_NO_DATABASE: Final = unavailable("the database is away: connect again")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Admitted:
    user_id: str
    wanted: Mapping[Channel, Since]


class Gateway:
    """One process: who comes is admitted or refused, and becomes a subscriber."""

    def __init__(
        self,
        keys: KeySource,
        verifier: TokenVerifier,
        token_sources: TokenSources,
        access: Access,
        fanout: Fanout,
        guard: Guard,
        project_type: IdType,
        registry: CollectorRegistry,
        tasks: asyncio.TaskGroup,
        *,
        drain_seconds: float,
    ) -> None:
        self._drain_seconds = drain_seconds
        self._keys = keys
        self._verifier = verifier
        self._token_sources = token_sources
        self._access = access
        self._fanout = fanout
        self._guard = guard
        self._project_type = project_type
        self._registry = registry
        self._tasks = tasks
        self._refused = Counter(
            "neverstale_refused_total", "Sockets refused", ["code"], registry=registry
        )
        self._connections: set[Connection] = set()
        self._draining = False

    def application(self) -> web.Application:
        """The aiohttp application."""
        app = web.Application(middlewares=[_errors_as_json])
        app.add_routes([web.get(WS_PATH, self._open_socket)])
        app.add_routes(health_routes(self._registry, self._ready))
        return app

    def _ready(self) -> tuple[bool, dict[str, Any]]:
        linked = self._fanout.can_subscribe
        keys = self._keys.state
        is_ready = linked and keys != "missing" and not self._draining
        # a dead listener is dead for every gateway: out of rotation none could help
        degraded = [] if self._fanout.is_live else ["listener"]
        degraded += ["keys"] if keys == "degraded" else []
        return is_ready, {
            "redis": linked,
            "keys": keys,
            "draining": self._draining,
            "degraded": degraded,
        }

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
            cursors=request.query.getall("since", ()),
            ages=request.query.getall("age", ()),
        )
        admitted = await self._admit(offer)
        if isinstance(admitted, Refusal):
            return await self._refuse(request, offer, admitted)
        connection = await Connection.accept(
            request, self._tasks, is_v1=offer.is_v1, user_id=admitted.user_id
        )
        self._connections.add(connection)
        self._fanout.join(connection, admitted.wanted)
        for channel in admitted.wanted:
            self._ask_again_if_doubtful(connection, channel)
        try:
            await self._serve(connection)
        finally:
            self._fanout.leave(connection)
            self._connections.discard(connection)
        return connection.response

    async def _admit(self, offer: Offer) -> "_Admitted | Refusal":
        """What the client may hear, or why it may not."""
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
        wanted = self._wanted(offer, project_id, identity.user_id)
        if isinstance(wanted, Refusal):
            return wanted
        if self._draining:
            return _DRAINING
        if not self._fanout.can_subscribe:
            return _NO_REDIS
        if project_id is not None:
            refusal = await self._refuse_access(project_id, identity.user_id)
            if refusal is not None:
                return refusal
        return _Admitted(identity.user_id, wanted)

    def _wanted(
        self, offer: Offer, project_id: str | None, user_id: str
    ) -> Mapping[Channel, Since] | Refusal:
        """Its channels, each with what it has of it.

        An age is reckoned before anything is waited for: meanwhile the page grows older.
        """
        held = offer.held()
        if isinstance(held, Refusal):
            return held
        loaded = None if held.age_seconds is None else self._fanout.loaded(held.age_seconds)
        channels = [Channel("user", user_id)]
        if project_id is not None:
            channels.insert(0, Channel("project", project_id))
        return {channel: held.cursors.get(channel) or loaded for channel in channels}

    async def _refuse_access(self, project_id: str, user_id: str) -> Refusal | None:
        try:
            allowed = await self._access.may_hear((project_id, user_id))
        except AccessUnavailable as exc:
            log.warning("access could not be asked", extra={"reason": str(exc)})
            return _NO_DATABASE
        return None if allowed else FORBIDDEN

    def _ask_again_if_doubtful(self, connection: Connection, channel: Channel) -> None:
        """A recheck between the answer and the subscription found nothing to hold."""
        pair = (channel.id, connection.user_id)
        if channel.kind == "project" and not self._access.is_known(pair):
            self._guard.doubt(Recheck(*pair))

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
            async for text in connection.messages():
                if connection.is_v1:  # a plain client was never promised an answer
                    await self._follow(connection, parse_message(text, self._project_type))

    async def _follow(self, connection: Connection, message: Message) -> None:
        answer: bytes | None = None
        match message:
            case Ping():
                answer = PONG_FRAME
            case Mistake(text):
                answer = error_frame("bad_request", text)
            case Subscribe():
                answer = await self._subscribe(connection, message)
            case Unsubscribe(project_id):
                self._fanout.unsubscribe(connection, Channel("project", project_id))
                answer = unsubscribed_frame(project_id, "requested")
        if answer is not None:
            connection.write(encode_text_frame(answer))

    async def _subscribe(self, connection: Connection, message: Subscribe) -> bytes | None:
        """Make it hear of one more project, or return why not."""
        channel = Channel("project", message.project_id)
        since: Since = (
            message.since if message.since and message.since.channel == channel else None
        )
        if since is None and message.age_seconds is not None:
            since = self._fanout.loaded(message.age_seconds)
        held = self._fanout.channels_of(connection)
        if channel not in held and len(held) > MAX_PROJECTS_PER_SOCKET:
            return error_frame(
                "too_many_subscriptions",
                f"a socket may hear of {MAX_PROJECTS_PER_SOCKET} projects: unsubscribe first",
                project_id=channel.id,
            )
        refusal = await self._refuse_access(channel.id, connection.user_id)
        if refusal is not None:
            return error_frame(refusal.code, refusal.message, project_id=channel.id)
        self._fanout.subscribe(connection, channel, since)
        self._ask_again_if_doubtful(connection, channel)
        return None

    async def drain_when(self, stop: asyncio.Event, drained: asyncio.Event) -> None:
        """Once *stop* is set take no new sockets and close the others, in random order and
        spread out: all come back somewhere, each at a moment of its own.
        """
        await stop.wait()
        self._draining = True
        connections = list(self._connections)
        random.shuffle(connections)
        seconds = min(self._drain_seconds, len(connections) / MIN_CLOSES_PER_SECOND)
        log.info("draining", extra={"sockets": len(connections), "seconds": round(seconds, 1)})
        async with asyncio.TaskGroup() as closing:
            for connection in connections:
                closing.create_task(connection.close(CloseCode.DRAINING, "draining"))
                await asyncio.sleep(seconds / len(connections))
        drained.set()


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
                spread_seconds=settings.reset_spread_seconds,
                slow_seconds=settings.slow_client_seconds,
            )
            access = Access(pool, rules, registry)
            guard = Guard(access, fanout, registry, tasks)
            gateway = Gateway(
                keys,
                TokenVerifier(keys, token_rules),
                TokenSources(settings.allowed_origins, settings.allow_query_token),
                access,
                fanout,
                guard,
                rules.project_type,
                registry,
                tasks,
                drain_seconds=settings.drain_seconds,
            )
            drained = asyncio.Event()
            tasks.create_task(gateway.drain_when(stop, drained))
            await run_until(
                drained,
                keys.run(),
                access.run(),
                guard.run_net(),
                fanout.tell_status(),
                fanout.watch_slow(),
                Subscriber(redis_url, client, names, fanout, guard).run(),
                serve(gateway.application(), settings.host, settings.port, setting="PORT"),
            )
    finally:
        await client.aclose()

"""Sockets from the handshake to their end: what their clients say, and when they must go."""

import asyncio
import logging
import random
from functools import partial
from typing import Final
from weakref import WeakValueDictionary

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter

from gateway.access.checker import AccessChecker
from gateway.access.revalidation import Revalidator
from gateway.auth.token_verifier import KEY_WITHDRAWN, TokenVerifier
from gateway.delivery.fanout import Fanout
from gateway.http.admission import NO_REDIS, Admission, Admitted, parse_handshake
from gateway.http.handshake import NOT_A_WEBSOCKET, UPGRADE_HEADERS, HandshakeRequest
from gateway.limits.connection_limiter import ConnectionLimiter
from gateway.limits.rates import AUTH_COST, RateLimiter, SocketLimits, TokenBucket
from gateway.transport.client_messages import (
    Auth,
    InvalidMessage,
    Ping,
    Subscribe,
    Unsubscribe,
    cost_of,
    parse_message,
)
from gateway.transport.clients import PlainClient, V1Client
from gateway.transport.connection import Connection
from shared.http.errors import refusal_response
from shared.protocol.channels import Channel, IdType
from shared.protocol.close_codes import (
    TOKEN_EXPIRED,
    CloseCode,
    Refusal,
    unauthorized,
    unavailable,
)
from shared.protocol.control_messages import Recheck
from shared.protocol.frames import PONG_FRAME, auth_ok_frame, error_frame, unsubscribed_frame
from shared.protocol.replay import Since

JOIN_SECONDS: Final = 10.0
EXPIRY_CHECK_SECONDS: Final = 0.5
MIN_CLOSES_PER_SECOND: Final = 50
_DRAINING: Final = unavailable("the gateway is shutting down: connect again")
_DISCONNECTED: Final = unauthorized("the session was ended: sign in again")
_ANOTHER_USER: Final = unauthorized("the token is of another user: connect anew")

log = logging.getLogger(__name__)


class WebSockets:
    """All sockets of this process."""

    def __init__(
        self,
        admission: Admission,
        verifier: TokenVerifier,
        access: AccessChecker,
        fanout: Fanout,
        guard: Revalidator,
        door: ConnectionLimiter,
        limits: SocketLimits,
        project_type: IdType,
        registry: CollectorRegistry,
        tasks: asyncio.TaskGroup,
        *,
        drain_seconds: float,
    ) -> None:
        self._admission = admission
        self._verifier = verifier
        self._access = access
        self._fanout = fanout
        self._guard = guard
        self._door = door
        self._limits = limits
        self._project_type = project_type
        self._tasks = tasks
        self._drain_seconds = drain_seconds
        self._refused = Counter(
            "neverstale_refused_total", "Sockets refused", ["code"], registry=registry
        )
        self._connections: set[Connection] = set()
        self._replayed: WeakValueDictionary[str, TokenBucket] = WeakValueDictionary()
        self.draining = False

    async def open(self, request: web.Request) -> web.StreamResponse:
        """Answer a request to the WebSocket endpoint; returns when the socket is closed."""
        offer = parse_handshake(request)
        address = self._door.address_of(request)
        with self._door.acquire(address) as slot:
            refusal = _DRAINING if self.draining else slot.refusal
            admitted = refusal or await self._admission.admit(offer, address)
            if isinstance(admitted, Admitted):
                admitted = slot.assign_user(admitted.identity.user_id) or admitted
            if isinstance(admitted, Admitted):
                return await self._attend(request, offer, admitted)
        return await self._refuse(request, offer, admitted)  # it holds no slot

    async def _attend(
        self, request: web.Request, offer: HandshakeRequest, admitted: Admitted
    ) -> web.StreamResponse:
        kind = V1Client if offer.is_v1 else PlainClient
        connection = await kind.accept(
            request,
            self._tasks,
            max_message_bytes=self._limits.max_message_bytes,
            identity=admitted.identity,
            rate_limiter=self._pacer(admitted.identity.user_id),
        )
        if self.draining:  # since it was admitted
            await connection.close(CloseCode.DRAINING, "draining")
            return connection.response
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

    def _pacer(self, user_id: str) -> RateLimiter:
        """A socket's budget; that of rows which are replayed is its user's."""
        now = asyncio.get_running_loop().time()
        replayed = self._replayed.setdefault(
            user_id, TokenBucket(self._limits.replay_rate, now)
        )
        return RateLimiter(self._limits, now, replayed)

    async def _refuse(
        self, request: web.Request, offer: HandshakeRequest, refusal: Refusal
    ) -> web.StreamResponse:
        self._refused.labels(refusal.code).inc()
        if offer.is_websocket and offer.is_v1:
            connection = await V1Client.accept(
                request, self._tasks, max_message_bytes=self._limits.max_message_bytes
            )
            await connection.refuse(refusal)
            return connection.response
        return refusal_response(refusal, UPGRADE_HEADERS if refusal is NOT_A_WEBSOCKET else {})

    async def _serve(self, connection: Connection) -> None:
        try:
            async with asyncio.timeout(JOIN_SECONDS):
                await connection.greeted.wait()
        except TimeoutError:
            await connection.refuse(NO_REDIS)
        else:
            await connection.serve(partial(self._handle, connection))

    async def _handle(self, connection: Connection, text: str) -> None:
        message = parse_message(text, self._project_type)
        connection.charge(cost_of(message, len(text)))
        answer: bytes | None = None
        match message:
            case Ping():
                answer = PONG_FRAME
            case InvalidMessage(text, project_id):
                answer = error_frame("bad_request", text, project_id=project_id)
            case Subscribe():
                answer = await self._subscribe(connection, message)
            case Unsubscribe(project_id):
                self._fanout.unsubscribe(connection, Channel("project", project_id))
                answer = unsubscribed_frame(project_id, "requested")
            case Auth(token):
                answer = await self._renew(connection, token)
        if answer is not None:
            connection.send(answer)

    async def _subscribe(self, connection: Connection, message: Subscribe) -> bytes | None:
        """Make it hear of one more project, or return why not."""
        channel = Channel("project", message.project_id)
        since: Since = message.since
        if message.since is None or message.since.channel != channel:
            since = None
        if since is None and message.age_seconds is not None:
            since = self._fanout.loaded(message.age_seconds)
        held = self._fanout.channels_of(connection)
        most = self._limits.max_projects
        if most and channel not in held and len(held) > most:  # user: is one of them
            return error_frame(
                "too_many_subscriptions",
                f"a socket may hear of {most} projects: unsubscribe first",
                project_id=channel.id,
            )
        refusal = await self._admission.refuse_access(channel.id, connection.user_id)
        if refusal is not None:
            return error_frame(refusal.code, refusal.message, project_id=channel.id)
        self._fanout.subscribe(connection, channel, since)
        self._ask_again_if_doubtful(connection, channel)
        return None

    async def _renew(self, connection: Connection, token: str) -> bytes | None:
        """Go on with a fresh token of the same user, whose access is asked again; one that says
        nothing new is no work.
        """
        identity = await self._verifier.verify(token)
        if identity != connection.identity:
            connection.charge(AUTH_COST)
        if isinstance(identity, Refusal):
            return error_frame(identity.code, identity.message)  # the old one counts on
        if identity.user_id != connection.user_id:
            await connection.refuse(_ANOTHER_USER)
            return None
        if identity != connection.identity:
            connection.renew(identity)
            self._guard.revalidate_user(identity.user_id)
        return auth_ok_frame(max(0, round(self._verifier.seconds_left(identity))))

    def _ask_again_if_doubtful(self, connection: Connection, channel: Channel) -> None:
        """A recheck between the answer and the subscription found nothing to hold."""
        pair = (channel.id, connection.user_id)
        if channel.kind == "project" and not self._access.has_cached_access(pair):
            self._guard.recheck(Recheck(*pair))

    def disconnect(self, user_id: str) -> None:
        """End all sockets of the user, who may come back with a token."""
        for connection in self._connections:
            if connection.user_id == user_id:
                connection.end_with(_DISCONNECTED)

    async def watch_tokens(self) -> None:
        """Warn v1 clients ahead of their token's end, and close whoever has none that counts:
        it has expired, or its key was withdrawn. Never returns.
        """
        while True:
            await asyncio.sleep(EXPIRY_CHECK_SECONDS)
            for connection in list(self._connections):
                if not connection.greeted.is_set():
                    continue  # the greeting is the first frame
                seconds = self._verifier.seconds_left(connection.identity)
                if seconds <= -self._verifier.leeway_seconds:
                    connection.end_with(TOKEN_EXPIRED)
                elif self._verifier.is_withdrawn(connection.identity):
                    connection.end_with(KEY_WITHDRAWN)
                else:
                    connection.warn_of_expiry(seconds)

    async def drain_when(self, stop: asyncio.Event, drained: asyncio.Event) -> None:
        """Once *stop* is set take no new sockets and close the others, in random order and
        spread out: all come back somewhere, each at a moment of its own.
        """
        await stop.wait()
        self.draining = True
        connections = list(self._connections)
        random.shuffle(connections)
        seconds = min(self._drain_seconds, len(connections) / MIN_CLOSES_PER_SECOND)
        log.info("draining", extra={"sockets": len(connections), "seconds": round(seconds, 1)})
        async with asyncio.TaskGroup() as closing:
            for connection in connections:
                closing.create_task(connection.close(CloseCode.DRAINING, "draining"))
                await asyncio.sleep(seconds / len(connections))
        drained.set()

"""The WebSocket endpoint: from the handshake request to the end of the connection."""

import asyncio
from functools import partial
from typing import Final
from weakref import WeakValueDictionary

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter

from gateway.delivery.fanout import Fanout
from gateway.http.admission import NO_REDIS, Admission, Admitted, parse_handshake
from gateway.http.handshake import NOT_A_WEBSOCKET, UPGRADE_HEADERS, HandshakeRequest
from gateway.http.message_handler import MessageHandler
from gateway.http.open_connections import OpenConnections
from gateway.http.project_access import ProjectAccess
from gateway.limits.connection_limiter import ConnectionLimiter
from gateway.limits.rates import RateLimiter, SocketLimits, TokenBucket
from gateway.transport.clients import PlainClient, V1Client
from gateway.transport.connection import Connection
from shared.http.errors import refusal_response
from shared.protocol.close_codes import CloseCode, Refusal, unavailable

GREETING_SECONDS: Final = 10.0
_DRAINING: Final = unavailable("the gateway is shutting down: connect again")


class WebSocketEndpoint:
    """Admits clients, makes them subscribers, and serves them until they close."""

    def __init__(
        self,
        admission: Admission,
        limiter: ConnectionLimiter,
        access: ProjectAccess,
        fanout: Fanout,
        handler: MessageHandler,
        connections: OpenConnections,
        limits: SocketLimits,
        registry: CollectorRegistry,
        tasks: asyncio.TaskGroup,
    ) -> None:
        self._admission = admission
        self._limiter = limiter
        self._access = access
        self._fanout = fanout
        self._handler = handler
        self._connections = connections
        self._limits = limits
        self._tasks = tasks
        self._refused = Counter(
            "neverstale_refused_total", "Sockets refused", ["code"], registry=registry
        )
        self._replayed: WeakValueDictionary[str, TokenBucket] = WeakValueDictionary()

    async def open(self, request: web.Request) -> web.StreamResponse:
        """Handle a request to the endpoint; returns when the connection is closed."""
        handshake = parse_handshake(request)
        address = self._limiter.address_of(request)
        with self._limiter.acquire(address) as slot:
            refusal = _DRAINING if self._connections.is_draining else slot.refusal
            admitted = refusal or await self._admission.admit(handshake, address)
            if isinstance(admitted, Admitted):
                admitted = slot.assign_user(admitted.identity.user_id) or admitted
            if isinstance(admitted, Admitted):
                return await self._accept(request, handshake, admitted)
        return await self._refuse(request, handshake, admitted)  # it holds no slot

    async def _accept(
        self, request: web.Request, handshake: HandshakeRequest, admitted: Admitted
    ) -> web.StreamResponse:
        kind = V1Client if handshake.is_v1 else PlainClient
        connection = await kind.accept(
            request,
            self._tasks,
            max_message_bytes=self._limits.max_message_bytes,
            identity=admitted.identity,
            rate_limiter=self._rate_limiter(admitted.identity.user_id),
        )
        if self._connections.is_draining:  # since it was admitted
            await connection.close(CloseCode.DRAINING, "draining")
            return connection.response
        self._connections.add(connection)
        self._fanout.join(connection, admitted.wanted)
        for channel in admitted.wanted:
            if channel.kind == "project":
                self._access.recheck_if_stale(channel.id, connection.user_id)
        try:
            await self._serve(connection)
        finally:
            self._fanout.leave(connection)
            self._connections.discard(connection)
        return connection.response

    def _rate_limiter(self, user_id: str) -> RateLimiter:
        """The limiter of one connection; all connections of a user share that of replays."""
        now = asyncio.get_running_loop().time()
        replayed = self._replayed.setdefault(
            user_id, TokenBucket(self._limits.replay_rate, now)
        )
        return RateLimiter(self._limits, now, replayed)

    async def _serve(self, connection: Connection) -> None:
        try:
            async with asyncio.timeout(GREETING_SECONDS):
                await connection.greeted.wait()
        except TimeoutError:
            await connection.refuse(NO_REDIS)
        else:
            await connection.serve(partial(self._handler.handle, connection))

    async def _refuse(
        self, request: web.Request, handshake: HandshakeRequest, refusal: Refusal
    ) -> web.StreamResponse:
        """Answer with an HTTP status or, for a v1 client, open the WebSocket to close it: a
        browser can't read the status of a failed handshake.
        """
        self._refused.labels(refusal.code).inc()
        if handshake.is_websocket and handshake.is_v1:
            connection = await V1Client.accept(
                request, self._tasks, max_message_bytes=self._limits.max_message_bytes
            )
            await connection.refuse(refusal)
            return connection.response
        return refusal_response(refusal, UPGRADE_HEADERS if refusal is NOT_A_WEBSOCKET else {})

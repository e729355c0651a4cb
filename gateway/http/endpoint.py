"""The WebSocket endpoint: from the handshake request to the end of the connection."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, Final

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter

from gateway.delivery.fanout import Fanout
from gateway.http.admission import Admission, Admitted, parse_handshake
from gateway.http.handshake import NOT_A_WEBSOCKET, UPGRADE_HEADERS, HandshakeRequest
from gateway.http.message_handler import MessageHandler
from gateway.http.open_connections import OpenConnections
from gateway.http.project_access import ProjectAccess
from gateway.limits.connection_limiter import ConnectionLimiter, ConnectionSlot
from gateway.limits.rates import RateLimiter, SocketLimits, TokenBuckets
from gateway.transport.clients import PlainClient, V1Client
from gateway.transport.connection import Connection
from shared.http.errors import encode_error, encode_refusal, refusal_response
from shared.http.upgrades import UpgradeRequest
from shared.protocol.close_codes import CloseCode, Refusal, unavailable

WS_PATH: Final = "/api/v1/messages/ws"
_DRAINING: Final = unavailable("the gateway is shutting down: connect again")
_FAILED: Final = encode_error(500, "internal", "something went wrong here")

log = logging.getLogger(__name__)


class WebSocketEndpoint:
    """Admits clients, makes them subscribers, and serves them until they close."""

    path: Final = WS_PATH

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
        self._replays: TokenBuckets[str] = TokenBuckets(limits.replay_rate)

    def open(self, request: UpgradeRequest) -> None:
        """Begin to answer a handshake."""
        self.start(self._answer(request))

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            self._tasks.create_task(work)
        except RuntimeError:  # the gateway is ending, and its connections with it
            work.close()

    async def handle(self, connection: Connection, text: str) -> None:
        await self._handler.handle(connection, text)

    def lost(self, connection: Connection) -> None:
        self._fanout.leave(connection)
        self._connections.discard(connection)
        connection.slot.release()

    async def answer_plain_request(self, _: web.Request) -> web.StreamResponse:
        """Refuse a request that asks for no upgrade."""
        self._refused.labels(NOT_A_WEBSOCKET.code).inc()
        return refusal_response(NOT_A_WEBSOCKET, UPGRADE_HEADERS)

    async def _answer(self, request: UpgradeRequest) -> None:
        self._connections.begin_opening()
        slot = ConnectionSlot(self._limiter, self._limiter.address_of(request))
        is_accepted = False
        try:
            handshake = parse_handshake(request)
            admitted = await self._admit(handshake, slot)
            if isinstance(admitted, Refusal):
                self._refuse(request, handshake, admitted)
            elif not request.is_lost:
                is_accepted = True  # the connection releases the slot
                self._accept(request, handshake, admitted, slot)
        except Exception:
            log.exception("request failed", extra={"path": WS_PATH})
            if is_accepted:
                request.transport.abort()
            else:
                request.refuse(_FAILED)
        finally:
            if not is_accepted:
                slot.release()
            self._connections.end_opening()

    async def _admit(
        self, handshake: HandshakeRequest, slot: ConnectionSlot
    ) -> Admitted | Refusal:
        refusal = _DRAINING if self._connections.is_draining else slot.refusal
        admitted = refusal or await self._admission.admit(handshake, slot.address)
        if isinstance(admitted, Admitted):
            return slot.assign_user(admitted.identity.user_id) or admitted
        return admitted

    def _accept(
        self,
        request: UpgradeRequest,
        handshake: HandshakeRequest,
        admitted: Admitted,
        slot: ConnectionSlot,
    ) -> None:
        kind = V1Client if handshake.is_v1 else PlainClient
        connection = kind.accept(
            request,
            handshake.key or "",
            self,
            slot,
            admitted.identity,
            rate_limiter=self._rate_limiter(admitted.identity.user_id),
            max_message_bytes=self._limits.max_message_bytes,
        )
        self._connections.add(connection)
        self._fanout.join(connection, admitted.wanted)
        for channel in admitted.wanted:
            if channel.kind == "project":
                self._access.recheck_if_stale(channel.id, connection.user_id)
        if self._connections.is_draining:  # since it was admitted
            connection.end(CloseCode.DRAINING, "draining")

    def _rate_limiter(self, user_id: str) -> RateLimiter:
        """The limiter of one connection; all connections of a user share that of replays."""
        now = asyncio.get_running_loop().time()
        return RateLimiter(self._limits, now, user_id, self._replays)

    def _refuse(
        self, request: UpgradeRequest, handshake: HandshakeRequest, refusal: Refusal
    ) -> None:
        """Answer with an HTTP status or, for a v1 client, open the WebSocket to close it."""
        self._refused.labels(refusal.code).inc()
        if handshake.is_websocket and handshake.is_v1 and handshake.key is not None:
            V1Client.refuse(request, handshake.key, refusal)
        else:
            is_upgrade = refusal is NOT_A_WEBSOCKET
            request.refuse(encode_refusal(refusal, UPGRADE_HEADERS if is_upgrade else {}))

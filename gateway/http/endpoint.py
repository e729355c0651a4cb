"""The endpoints of clients: from the handshake request to the end of the connection."""

import asyncio
import logging
import math
from collections.abc import Coroutine, Sequence
from typing import Any, Final

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter

from gateway.auth.origins import OriginRule
from gateway.delivery.fanout import Fanout
from gateway.http.admission import (
    Admission,
    Admitted,
    parse_handshake,
    parse_stream_request,
)
from gateway.http.cors import cors_headers
from gateway.http.handshake import NOT_A_WEBSOCKET, UPGRADE_HEADERS, HandshakeRequest
from gateway.http.message_handler import MessageHandler
from gateway.http.open_connections import OpenConnections
from gateway.http.project_access import ProjectAccess
from gateway.limits.connection_limiter import ConnectionLimiter, ConnectionSlot
from gateway.limits.rates import RateLimiter, SocketLimits, TokenBuckets
from gateway.transport.clients import PlainClient, V1Client
from gateway.transport.connection import Connection
from gateway.transport.event_stream import EventStream
from shared.http.errors import encode_error, encode_refusal, refusal_response
from shared.http.upgrades import UpgradeRequest
from shared.protocol.close_codes import CloseCode, Refusal, rate_limited, unavailable

WS_PATH: Final = "/api/v1/messages/ws"
SSE_PATH: Final = "/api/v1/messages/sse"
_DRAINING: Final = unavailable("the gateway is shutting down: connect again")
_FAILED: Final = encode_error(500, "internal", "something went wrong here")

log = logging.getLogger(__name__)


class ClientEndpoint:
    """Admits clients, makes them subscribers, and serves them until they close."""

    paths: Final = {WS_PATH: True, SSE_PATH: False}

    def __init__(
        self,
        admission: Admission,
        limiter: ConnectionLimiter,
        access: ProjectAccess,
        fanout: Fanout,
        handler: MessageHandler,
        connections: OpenConnections,
        limits: SocketLimits,
        origins: Sequence[OriginRule],
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
        self._origins = origins
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
            is_stream = request.path == SSE_PATH
            handshake = parse_stream_request(request) if is_stream else parse_handshake(request)
            admitted = await self._admit(handshake, slot)
            if isinstance(admitted, Refusal):
                self._refuse(request, handshake, admitted)
            elif not request.is_lost:
                is_accepted = True  # the connection releases the slot
                self._accept(request, handshake, admitted, slot)
        except Exception:
            log.exception("request failed", extra={"path": request.path})
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
            user_id = admitted.identity.user_id
            refusal = slot.assign_user(user_id)
            if refusal is None and handshake.is_stream:
                refusal = self._refuse_replays(user_id)
            if refusal is not None:
                return refusal
        return admitted

    def _refuse_replays(self, user_id: str) -> Refusal | None:
        """Return why a stream can't be opened now: it can't be read more slowly, as a
        WebSocket whose user is over the limit is.
        """
        seconds = self._replays.debt_seconds(user_id, asyncio.get_running_loop().time())
        if not seconds:
            return None
        return rate_limited("too much was replayed to this user: wait", math.ceil(seconds))

    def _accept(
        self,
        request: UpgradeRequest,
        handshake: HandshakeRequest,
        admitted: Admitted,
        slot: ConnectionSlot,
    ) -> None:
        identity = admitted.identity
        rate_limiter = self._rate_limiter(identity.user_id)
        connection: Connection
        if handshake.is_stream:
            connection = EventStream.accept(
                request,
                cors_headers(handshake, self._origins),
                self,
                slot,
                identity,
                rate_limiter=rate_limiter,
                refused=admitted.refused,
            )
        else:
            kind = V1Client if handshake.is_v1 else PlainClient
            connection = kind.accept(
                request,
                handshake.key or "",
                self,
                slot,
                identity,
                rate_limiter=rate_limiter,
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
        """Answer with an HTTP status or, for a v1 client, open its WebSocket to close it."""
        self._refused.labels(refusal.code).inc()
        if handshake.is_stream:
            headers = cors_headers(handshake, self._origins)
            request.refuse(encode_refusal(refusal, headers))
        elif handshake.is_websocket and handshake.is_v1 and handshake.key is not None:
            V1Client.refuse(request, handshake.key, refusal)
        else:
            is_upgrade = refusal is NOT_A_WEBSOCKET
            request.refuse(encode_refusal(refusal, UPGRADE_HEADERS if is_upgrade else {}))

"""Admission: from a handshake or ticket request to an identity and its channels."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from gateway.auth.tickets import Tickets
from gateway.auth.token_rules import Identity
from gateway.auth.token_verifier import TokenVerifier
from gateway.delivery.fanout import Fanout
from gateway.http.handshake import (
    INVALID_KEY,
    NOT_A_WEBSOCKET,
    HandshakeRequest,
    Ticket,
    TokenSources,
)
from gateway.http.project_access import ProjectAccess
from gateway.limits.connection_limiter import ConnectionLimiter
from shared.http.upgrades import RequestHead
from shared.links.redis_link import RedisLost
from shared.protocol.channels import Channel, IdType
from shared.protocol.close_codes import Refusal, unavailable
from shared.protocol.replay import Since

NO_REDIS: Final = unavailable("Redis is away, or no listener has ever run: connect again")


@dataclass(frozen=True, slots=True)
class Admitted:
    """The user, and the channels to join, each with how much of it the client has."""

    identity: Identity
    wanted: Mapping[Channel, Since]


class Admission:
    """Decides about handshakes and ticket requests. A refusal is a returned value."""

    def __init__(
        self,
        verifier: TokenVerifier,
        sources: TokenSources,
        tickets: Tickets,
        access: ProjectAccess,
        fanout: Fanout,
        limiter: ConnectionLimiter,
        project_type: IdType,
    ) -> None:
        self._verifier = verifier
        self._sources = sources
        self._tickets = tickets
        self._access = access
        self._fanout = fanout
        self._limiter = limiter
        self._project_type = project_type

    async def admit(
        self, handshake: HandshakeRequest, address: str | None
    ) -> Admitted | Refusal:
        """Return who connects and to what, or why the client is refused."""
        if not handshake.is_websocket:
            return NOT_A_WEBSOCKET
        if handshake.key is None:
            return INVALID_KEY
        project_id = handshake.project_id(self._project_type)
        identity = await self._identify(handshake, project_id, address)
        if isinstance(identity, Refusal):
            return identity
        if isinstance(project_id, Refusal):
            return project_id
        wanted = self._wanted(handshake, project_id, identity.user_id)
        if isinstance(wanted, Refusal):
            return wanted
        if not self._fanout.can_subscribe:
            return NO_REDIS
        if project_id is not None:
            refusal = await self._access.refuse(project_id, identity.user_id)
            if refusal is not None:
                return refusal
        return Admitted(identity, wanted)

    async def issue_ticket(
        self, request: HandshakeRequest, project_id: str | Refusal, address: str | None
    ) -> str | Refusal:
        """Return a ticket if the client could connect to the project now, or why it is
        refused.
        """
        identity = await self._identify(request, project_id, address)
        if isinstance(identity, Refusal):
            return identity
        if isinstance(project_id, Refusal):
            return project_id
        refusal = self._limiter.count_ticket(identity.user_id)
        refusal = refusal or await self._access.refuse(project_id, identity.user_id)
        if refusal is not None:
            return refusal
        try:
            return await self._tickets.issue(project_id, identity)
        except RedisLost:
            return NO_REDIS

    async def _identify(
        self,
        request: HandshakeRequest,
        project_id: str | Refusal | None,
        address: str | None,
    ) -> Identity | Refusal:
        """Return the user that the token or ticket names, or a refusal.

        A token that was never genuine counts against the address.
        """
        token = request.token(self._sources)
        if isinstance(token, Refusal):
            return token
        refusal = self._limiter.refuse_guessing(address)
        if refusal is not None:
            return refusal
        if isinstance(token, Ticket):
            identity = await self._redeem(token, project_id)
        else:
            identity = await self._verifier.verify(token)
        if isinstance(identity, Refusal) and identity.code == "unauthorized":
            self._limiter.count_failure(address)
        return identity

    async def _redeem(
        self, ticket: Ticket, project_id: str | Refusal | None
    ) -> Identity | Refusal:
        if isinstance(project_id, Refusal):
            return project_id  # the ticket is not used up by a malformed request
        try:
            identity = await self._tickets.redeem(ticket.text, project_id)
        except RedisLost:
            return NO_REDIS
        if isinstance(identity, Identity):
            return await self._verifier.confirm(identity)
        return identity

    def _wanted(
        self, handshake: HandshakeRequest, project_id: str | None, user_id: str
    ) -> Mapping[Channel, Since] | Refusal:
        """The channels to join.

        The page's age is converted before access is checked: the page grows older meanwhile.
        """
        client = handshake.client_cursors()
        if isinstance(client, Refusal):
            return client
        age_seconds = client.age_seconds
        loaded = None if age_seconds is None else self._fanout.loaded(age_seconds)
        channels = [Channel("user", user_id)]
        if project_id is not None:
            channels.insert(0, Channel("project", project_id))
        return {channel: client.cursors.get(channel) or loaded for channel in channels}


def parse_handshake(request: RequestHead) -> HandshakeRequest:
    """The parts of a request that admission looks at."""
    headers, query = request.headers, request.query
    return HandshakeRequest(
        method=request.method,
        http_version=(request.version.major, request.version.minor),
        connection=headers.getall("Connection", ()),
        upgrade=headers.getall("Upgrade", ()),
        version=headers.getall("Sec-WebSocket-Version", ()),
        keys=headers.getall("Sec-WebSocket-Key", ()),
        authorization=headers.getall("Authorization", ()),
        subprotocols=headers.getall("Sec-WebSocket-Protocol", ()),
        cookies=headers.getall("Cookie", ()),
        origin=headers.getall("Origin", ()),
        host=headers.getall("Host", ()),
        forwarded_proto=headers.getall("X-Forwarded-Proto", ()),
        tickets=query.getall("ticket", ()),
        query_tokens=query.getall("token", ()),
        project_ids=[*query.getall("project_id", ()), *query.getall("projectId", ())],
        cursors=query.getall("since", ()),
        ages=query.getall("age", ()),
    )

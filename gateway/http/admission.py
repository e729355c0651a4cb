"""Who may come in: from a request, or a message, to what its client may hear."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from gateway.access.checker import AccessChecker, AccessUnavailable
from gateway.auth.tickets import Tickets
from gateway.auth.token_rules import Identity
from gateway.auth.token_verifier import TokenVerifier
from gateway.delivery.fanout import Fanout
from gateway.http.handshake import NOT_A_WEBSOCKET, HandshakeRequest, Ticket, TokenSources
from gateway.limits.connection_limiter import ConnectionLimiter
from shared.links.redis_link import RedisLost
from shared.protocol.channels import Channel, IdType
from shared.protocol.close_codes import FORBIDDEN, Refusal, unavailable
from shared.protocol.replay import Since

NO_REDIS: Final = unavailable("Redis is away, or no listener has ever run: connect again")
_NO_DATABASE: Final = unavailable("the database is away: connect again")


@dataclass(frozen=True, slots=True)
class Admitted:
    """Whom a socket belongs to, and its channels, each with what its client has of it."""

    identity: Identity
    wanted: Mapping[Channel, Since]


class Admission:
    """Says who is admitted to what; a refusal is a value, told before the socket is opened."""

    def __init__(
        self,
        verifier: TokenVerifier,
        sources: TokenSources,
        tickets: Tickets,
        access: AccessChecker,
        fanout: Fanout,
        door: ConnectionLimiter,
        project_type: IdType,
    ) -> None:
        self._verifier = verifier
        self._sources = sources
        self._tickets = tickets
        self._access = access
        self._fanout = fanout
        self._door = door
        self._project_type = project_type

    async def admit(self, offer: HandshakeRequest, address: str | None) -> Admitted | Refusal:
        """What the client may hear, or why it may not."""
        if not offer.is_websocket:
            return NOT_A_WEBSOCKET
        project_id = offer.project_id(self._project_type)
        identity = await self._identify(offer, project_id, address)
        if isinstance(identity, Refusal):
            return identity
        if isinstance(project_id, Refusal):
            return project_id
        wanted = self._wanted(offer, project_id, identity.user_id)
        if isinstance(wanted, Refusal):
            return wanted
        if not self._fanout.can_subscribe:
            return NO_REDIS
        if project_id is not None:
            refusal = await self.refuse_access(project_id, identity.user_id)
            if refusal is not None:
                return refusal
        return Admitted(identity, wanted)

    async def issue_ticket(
        self, offer: HandshakeRequest, project_id: str | Refusal, address: str | None
    ) -> str | Refusal:
        """A ticket for whoever could open a socket on the project now, or why there is none."""
        identity = await self._identify(offer, project_id, address)
        if isinstance(identity, Refusal):
            return identity
        if isinstance(project_id, Refusal):
            return project_id
        refusal = self._door.count_ticket(identity.user_id)
        refusal = refusal or await self.refuse_access(project_id, identity.user_id)
        if refusal is not None:
            return refusal
        try:
            return await self._tickets.issue(project_id, identity)
        except RedisLost:
            return NO_REDIS

    async def _identify(
        self, offer: HandshakeRequest, project_id: str | Refusal | None, address: str | None
    ) -> Identity | Refusal:
        """Who asks. What was never genuine is held against its address."""
        token = offer.token(self._sources)
        if isinstance(token, Refusal):
            return token
        refusal = self._door.refuse_guessing(address)
        if refusal is not None:
            return refusal
        if isinstance(token, Ticket):
            identity = await self._redeem(token, project_id)
        else:
            identity = await self._verifier.verify(token)
        if isinstance(identity, Refusal) and identity.code == "unauthorized":
            self._door.count_failure(address)
        return identity

    async def _redeem(
        self, ticket: Ticket, project_id: str | Refusal | None
    ) -> Identity | Refusal:
        if isinstance(project_id, Refusal):
            return project_id  # a ticket is no worse for a mistake beside it
        try:
            identity = await self._tickets.redeem(ticket.text, project_id)
        except RedisLost:
            return NO_REDIS
        if isinstance(identity, Identity):
            return await self._verifier.confirm(identity)
        return identity

    async def refuse_access(self, project_id: str, user_id: str) -> Refusal | None:
        """Why the user may not hear of the project, if so."""
        try:
            allowed = await self._access.has_access((project_id, user_id))
        except AccessUnavailable:  # logged where it was asked
            return _NO_DATABASE
        return None if allowed else FORBIDDEN

    def _wanted(
        self, offer: HandshakeRequest, project_id: str | None, user_id: str
    ) -> Mapping[Channel, Since] | Refusal:
        """An age is reckoned before anything is waited for: meanwhile the page grows older."""
        held = offer.held()
        if isinstance(held, Refusal):
            return held
        loaded = None if held.age_seconds is None else self._fanout.loaded(held.age_seconds)
        channels = [Channel("user", user_id)]
        if project_id is not None:
            channels.insert(0, Channel("project", project_id))
        return {channel: held.cursors.get(channel) or loaded for channel in channels}


def parse_handshake(request: web.Request) -> HandshakeRequest:
    """What of a request matters here."""
    headers, query = request.headers, request.query
    return HandshakeRequest(
        method=request.method,
        http_version=(request.version.major, request.version.minor),
        connection=headers.getall("Connection", ()),
        upgrade=headers.getall("Upgrade", ()),
        version=headers.getall("Sec-WebSocket-Version", ()),
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

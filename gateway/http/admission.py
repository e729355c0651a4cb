"""Admission: from a handshake or ticket request to an identity and its channels."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from gateway.auth.tickets import Tickets
from gateway.auth.token_rules import Identity
from gateway.auth.token_verifier import TokenVerifier
from gateway.delivery.fanout import Fanout
from gateway.http.handshake import HandshakeRequest, Ticket, TokenSources
from gateway.http.project_access import ProjectAccess
from gateway.limits.connection_limiter import ConnectionLimiter
from shared.http.upgrades import RequestHead
from shared.links.redis_link import RedisLost
from shared.protocol.channels import Channel, IdType
from shared.protocol.close_codes import CloseCode, Refusal, unavailable
from shared.protocol.replay import Since

NO_REDIS: Final = unavailable("Redis is away, or no listener has ever run: connect again")
TOO_MANY_PROJECTS: Final = Refusal(
    400,
    CloseCode.BAD_REQUEST,
    "too_many_subscriptions",
    "the stream has too many projects: ask for fewer",
)


@dataclass(frozen=True, slots=True)
class Admitted:
    """The user, the channels to join, each with how much of it the client has, and the projects
    that a stream is refused, by their ids as the client wrote them.
    """

    identity: Identity
    wanted: Mapping[Channel, Since]
    refused: Mapping[str, Refusal]


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
        max_projects: int,
    ) -> None:
        """Let a client have *max_projects*; 0: unlimited."""
        self._verifier = verifier
        self._sources = sources
        self._tickets = tickets
        self._access = access
        self._fanout = fanout
        self._limiter = limiter
        self._project_type = project_type
        self._max_projects = max_projects

    async def admit(
        self, handshake: HandshakeRequest, address: str | None
    ) -> Admitted | Refusal:
        """Return who connects and to what, or why the client is refused.

        It is refused as a whole if it names projects and may see none of them.
        """
        refusal = handshake.refuse_form()
        if refusal is not None:
            return refusal
        projects = handshake.projects(self._project_type)
        identity = await self._identify(handshake, _only(projects), address)
        if isinstance(identity, Refusal):
            return identity
        if isinstance(projects, Refusal):
            return projects
        wanted = self._wanted(handshake, projects, identity.user_id)
        if isinstance(wanted, Refusal):
            return wanted
        if not self._fanout.can_subscribe:
            return NO_REDIS
        refused = await self._refused(projects, identity.user_id)
        if projects and len(refused) == len(projects):
            return next(iter(refused.values()))
        if refused:
            allowed = {projects[text] for text in projects.keys() - refused.keys()}
            wanted = {
                channel: since
                for channel, since in wanted.items()
                if channel.kind == "user" or channel.id in allowed
            }
        return Admitted(identity, wanted, refused)

    async def _refused(
        self, projects: Mapping[str, str | Refusal], user_id: str
    ) -> Mapping[str, Refusal]:
        """Return why the user can't subscribe to some of the projects."""
        refused = {text: one for text, one in projects.items() if isinstance(one, Refusal)}
        named = {text: one for text, one in projects.items() if isinstance(one, str)}
        texts = list(named)
        if self._max_projects:
            refused |= dict.fromkeys(texts[self._max_projects :], TOO_MANY_PROJECTS)
            texts = texts[: self._max_projects]
        if len(texts) == 1:  # as for each WebSocket, without the cost of a task
            answers = [await self._access.refuse(named[texts[0]], user_id)]
        else:
            asked = (self._access.refuse(named[text], user_id) for text in texts)
            answers = await asyncio.gather(*asked)
        for text, refusal in zip(texts, answers, strict=True):
            if refusal is not None:
                refused[text] = refusal
        return refused

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
        self,
        handshake: HandshakeRequest,
        projects: Mapping[str, str | Refusal],
        user_id: str,
    ) -> Mapping[Channel, Since] | Refusal:
        """The channels to join.

        The page's age is converted before access is checked: the page grows older meanwhile.
        """
        client = handshake.client_cursors()
        if isinstance(client, Refusal):
            return client
        age_seconds = client.age_seconds
        loaded = None if age_seconds is None else self._fanout.loaded(age_seconds)
        ids = [one for one in projects.values() if isinstance(one, str)]
        channels = [*(Channel("project", id_) for id_ in ids), Channel("user", user_id)]
        return {channel: client.cursors.get(channel) or loaded for channel in channels}


def _only(projects: Mapping[str, str | Refusal] | Refusal) -> str | Refusal | None:
    """The project that a ticket must be for."""
    if isinstance(projects, Refusal):
        return projects
    return next(iter(projects.values())) if len(projects) == 1 else None


def parse_stream_request(request: RequestHead) -> HandshakeRequest:
    """The parts of a request for server-sent events that admission looks at."""
    headers = request.headers
    return replace(
        parse_handshake(request),
        subprotocols=(),
        is_stream=True,
        accept=headers.getall("Accept", ()),
        last_event_ids=headers.getall("Last-Event-ID", ()),
        fetch_site=headers.getall("Sec-Fetch-Site", ()),
    )


def parse_handshake(request: RequestHead) -> HandshakeRequest:
    """The parts of a request for a WebSocket, or for a ticket, that admission looks at."""
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

"""Who may come in: from a request, or a message, to what its client may hear."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from gateway.access import Access, AccessUnavailable
from gateway.core.handshake import NOT_A_WEBSOCKET, Offer, TokenSources
from gateway.core.token_rules import Identity
from gateway.fanout import Fanout
from gateway.tokens import TokenVerifier
from shared.core.channels import Channel, IdType
from shared.core.close_codes import FORBIDDEN, Refusal, unavailable
from shared.core.replay import Since

NO_REDIS: Final = unavailable("Redis is away, or no listener has ever run: connect again")
_NO_DATABASE: Final = unavailable("the database is away: connect again")

log = logging.getLogger(__name__)


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
        access: Access,
        fanout: Fanout,
        project_type: IdType,
    ) -> None:
        self._verifier = verifier
        self._sources = sources
        self._access = access
        self._fanout = fanout
        self._project_type = project_type

    async def admit(self, offer: Offer) -> Admitted | Refusal:
        """What the client may hear, or why it may not."""
        if not offer.is_websocket:
            return NOT_A_WEBSOCKET
        token = offer.token(self._sources)
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
        if not self._fanout.can_subscribe:
            return NO_REDIS
        if project_id is not None:
            refusal = await self.refuse_access(project_id, identity.user_id)
            if refusal is not None:
                return refusal
        return Admitted(identity, wanted)

    async def refuse_access(self, project_id: str, user_id: str) -> Refusal | None:
        """Why the user may not hear of the project, if so."""
        try:
            allowed = await self._access.may_hear((project_id, user_id))
        except AccessUnavailable as exc:
            log.warning("access could not be asked", extra={"reason": str(exc)})
            return _NO_DATABASE
        return None if allowed else FORBIDDEN

    def _wanted(
        self, offer: Offer, project_id: str | None, user_id: str
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


def offer_of(request: web.Request) -> Offer:
    """What of a request matters here."""
    headers, query = request.headers, request.query
    return Offer(
        connection=headers.getall("Connection", ()),
        upgrade=headers.getall("Upgrade", ()),
        version=headers.getall("Sec-WebSocket-Version", ()),
        authorization=headers.getall("Authorization", ()),
        subprotocols=headers.getall("Sec-WebSocket-Protocol", ()),
        cookies=headers.getall("Cookie", ()),
        origin=headers.getall("Origin", ()),
        host=headers.getall("Host", ()),
        query_tokens=query.getall("token", ()),
        project_ids=[*query.getall("project_id", ()), *query.getall("projectId", ())],
        cursors=query.getall("since", ()),
        ages=query.getall("age", ()),
    )

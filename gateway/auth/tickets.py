"""Single-use tickets in Redis, for clients that can send neither a header nor a cookie."""

import secrets
from hashlib import sha256
from typing import Final

import orjson

from gateway.auth.token_rules import Identity
from shared.links.redis_link import Client, translated_errors
from shared.protocol.channels import RedisNames
from shared.protocol.close_codes import Refusal, unauthorized

TICKET_SECONDS: Final = 30
_TICKET_BYTES: Final = 32
NOT_VALID: Final = unauthorized(
    "the ticket is not valid: it can be used once, for its project, within "
    f"{TICKET_SECONDS} s: request another"
)


class Tickets:
    """Issues and redeems tickets. Redis stores digests, so that it contains no usable ticket.

    Methods raise ``RedisLost``.
    """

    def __init__(self, client: Client, names: RedisNames) -> None:
        self._client = client
        self._names = names

    async def issue(self, project_id: str, identity: Identity) -> str:
        """Return a ticket that replaces the user's token for this project."""
        ticket = secrets.token_urlsafe(_TICKET_BYTES)
        bound_to = [project_id, identity.user_id, identity.expires_at, identity.verified_by]
        async with translated_errors(self._client):
            await self._client.set(self._key(ticket), orjson.dumps(bound_to), ex=TICKET_SECONDS)
        return ticket

    async def redeem(self, ticket: str, project_id: str | None) -> Identity | Refusal:
        """Use up the ticket, and return the identity that it was issued for."""
        async with translated_errors(self._client):
            stored = await self._client.getdel(self._key(ticket))
        if stored is None:
            return NOT_VALID
        bound_to, *bearer = orjson.loads(stored)
        return Identity(*bearer) if bound_to == project_id else NOT_VALID

    def _key(self, ticket: str) -> str:
        digest = sha256(ticket.encode(errors="surrogatepass")).hexdigest()
        return self._names.ticket(digest)

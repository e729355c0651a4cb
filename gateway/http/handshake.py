"""Decide from a handshake request who connects, to which project, and since when."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from gateway.auth.origins import OriginRule, came_by_tls, is_origin_allowed
from gateway.transport.client_messages import parse_age
from gateway.transport.websocket_frames import is_handshake_key
from shared.protocol.channels import Channel, IdType, InvalidId, parse_id
from shared.protocol.close_codes import CloseCode, Refusal, bad_request, unauthorized
from shared.protocol.frames import SUBPROTOCOL
from shared.protocol.replay import Cursor, parse_cursor

_BEARER: Final = "bearer."
_COOKIE: Final = "access_token"
NOT_A_WEBSOCKET: Final = Refusal(
    426, CloseCode.BAD_REQUEST, "upgrade_required", "this is a WebSocket endpoint (version 13)"
)
INVALID_KEY: Final = bad_request("Sec-WebSocket-Key must be given once: 16 bytes in base64")
# RFC 9110, section 15.5.22, and RFC 6455, section 4.2.2
UPGRADE_HEADERS: Final = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
}
# 403 and not 401: another token would not help
FOREIGN_ORIGIN: Final = Refusal(
    403,
    CloseCode.FORBIDDEN,
    "forbidden",
    f"the cookie {_COOKIE} counts only with an Origin of this host or one that is allowed",
)


@dataclass(frozen=True, slots=True)
class Ticket:
    """Stands for a token once."""

    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class TokenSources:
    """Where a token is accepted besides ``Authorization`` and the subprotocol."""

    allowed_origins: Sequence[OriginRule] = ()
    allow_query: bool = False


@dataclass  # not frozen: that triples what it costs a handshake to make one
class HandshakeRequest:
    """The headers and query parameters that admission looks at, each with all its values."""

    method: str
    http_version: tuple[int, int]
    connection: Sequence[str]
    upgrade: Sequence[str]
    version: Sequence[str]
    keys: Sequence[str]
    authorization: Sequence[str]
    subprotocols: Sequence[str]
    cookies: Sequence[str]
    origin: Sequence[str]
    host: Sequence[str]
    forwarded_proto: Sequence[str]
    tickets: Sequence[str]
    query_tokens: Sequence[str]
    project_ids: Sequence[str]
    cursors: Sequence[str]
    ages: Sequence[str]

    def __post_init__(self) -> None:
        self._offered = [word.strip() for text in self.subprotocols for word in text.split(",")]
        self.is_v1 = SUBPROTOCOL in self._offered
        """Whether it comes from a v1 client, rather than a plain one."""

    @property
    def is_websocket(self) -> bool:
        """Whether it is a client's opening handshake (RFC 6455, section 4.2.1)."""
        return (
            self.method == "GET"
            and self.http_version == (1, 1)
            and "upgrade" in _tokens(self.connection)
            and "websocket" in _tokens(self.upgrade)
            and list(self.version) == ["13"]
        )

    @property
    def key(self) -> str | None:
        """The key of the handshake, if it is valid."""
        keys = self.keys
        return keys[0] if len(keys) == 1 and is_handshake_key(keys[0]) else None

    def token(self, sources: TokenSources) -> str | Ticket | Refusal:
        """The token, or the ticket that stands for it.

        The first source that is present decides, even if what it has is refused.
        """
        token = self._header_token() or self._subprotocol_token()
        if token is None:
            token = self._cookie_token(sources.allowed_origins)
        if token is None and self.tickets:
            if len(self.tickets) > 1:
                return bad_request("?ticket= must be given once")
            return Ticket(self.tickets[0])
        if token is None and sources.allow_query:
            token = _only(self.query_tokens, "?token= must be given once")
        if token is None:
            return unauthorized(
                "a token is required: Authorization: Bearer <token>, "
                f"or the subprotocols {SUBPROTOCOL}, bearer.<token>, or the cookie {_COOKIE}, "
                "or a ticket"
            )
        return token

    def _header_token(self) -> str | Refusal | None:
        if not self.authorization:
            return None
        scheme, _, token = self.authorization[0].strip().partition(" ")
        if len(self.authorization) > 1 or scheme.lower() != "bearer" or not token.strip():
            return unauthorized("Authorization must be given once, as: Bearer <token>")
        return token.strip()

    def _subprotocol_token(self) -> str | Refusal | None:
        bearers = [word for word in self._offered if word.startswith(_BEARER)]
        if bearers and not self.is_v1:
            return bad_request(
                f"the subprotocol bearer.<token> goes beside {SUBPROTOCOL}: offer both"
            )
        token = _only(bearers, "the subprotocol bearer.<token> must be offered once")
        return token.removeprefix(_BEARER) if isinstance(token, str) else token

    def _cookie_token(self, allowed: Sequence[OriginRule]) -> str | Refusal | None:
        pairs = [pair.partition("=") for line in self.cookies for pair in line.split(";")]
        values = [value.strip() for name, _, value in pairs if name.strip() == _COOKIE]
        if not values:
            return None
        if self.allowed_origin(allowed) is None:
            return FOREIGN_ORIGIN
        # of two cookies, one may have been planted by a sibling domain
        return _only(values, f"the cookie {_COOKIE} must be given once")

    def allowed_origin(self, rules: Sequence[OriginRule]) -> str | None:
        """The ``Origin`` of the page, if it may use cookies and read answers here."""
        if len(self.origin) != 1 or len(self.host) != 1:
            return None
        origin, host = self.origin[0], self.host[0]
        is_tls = came_by_tls(self.forwarded_proto)
        return origin if is_origin_allowed(origin, host, rules, is_tls=is_tls) else None

    def project_id(self, id_type: IdType) -> str | Refusal | None:
        """The canonical id of the project to subscribe to.

        None: a v1 client gets its user's own events only, until it subscribes.
        """
        named = {text for text in self.project_ids if text}  # an empty one counts as missing
        if not named:
            if self.is_v1:
                return None
            return bad_request("project_id is missing: connect with ?project_id=<id>")
        if len(named) > 1:
            return bad_request("project_id is given twice: connect with one")
        try:
            return parse_id(named.pop(), id_type)
        except InvalidId as exc:
            return bad_request(f"project_id {exc}")

    def client_cursors(self) -> "ClientCursors | Refusal":
        """From where a v1 client resumes. A plain client can't."""
        if not self.is_v1:
            return ClientCursors({}, None)
        age_seconds = None
        if self.ages:
            age_seconds = parse_age(self.ages[0])
            if len(self.ages) > 1 or age_seconds is None:
                return bad_request("age must be given once, in whole milliseconds")
        cursors = [cursor for text in self.cursors if (cursor := parse_cursor(text))]
        return ClientCursors({cursor.channel: cursor for cursor in cursors}, age_seconds)


@dataclass(frozen=True, slots=True)
class ClientCursors:
    """A returning client's cursors, and the greatest age of what it holds without a cursor."""

    cursors: Mapping[Channel, Cursor]
    age_seconds: float | None


def _tokens(values: Sequence[str]) -> set[str]:
    return {word.strip().lower() for value in values for word in value.split(",")}


def _only(values: Sequence[str], refusal: str) -> str | Refusal | None:
    if len(values) > 1:
        return bad_request(refusal)
    return values[0] if values else None

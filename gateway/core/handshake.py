"""What a request to the WebSocket endpoint asks for, and with which token."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from shared.core.channels import IdType, InvalidId, parse_id
from shared.core.close_codes import CloseCode, Refusal, bad_request, unauthorized
from shared.core.protocol import SUBPROTOCOL

_BEARER: Final = "bearer."
NOT_A_WEBSOCKET: Final = Refusal(
    426, CloseCode.BAD_REQUEST, "upgrade_required", "this is a WebSocket endpoint (version 13)"
)


@dataclass(frozen=True, slots=True)
class Offer:
    """The headers and query of a request that matter, each with all its values."""

    connection: Sequence[str]
    upgrade: Sequence[str]
    version: Sequence[str]
    authorization: Sequence[str]
    subprotocols: Sequence[str]
    project_ids: Sequence[str]

    @property
    def is_websocket(self) -> bool:
        """RFC 6455, section 4.2.1."""
        return (
            "upgrade" in _tokens(self.connection)
            and "websocket" in _tokens(self.upgrade)
            and list(self.version) == ["13"]
        )

    @property
    def is_v1(self) -> bool:
        return SUBPROTOCOL in self._offered

    @property
    def _offered(self) -> list[str]:
        return [word.strip() for value in self.subprotocols for word in value.split(",")]

    def token(self) -> str | Refusal:
        """The token; the first place that has one decides, nothing falls through."""
        if self.authorization:
            scheme, _, token = self.authorization[0].strip().partition(" ")
            if len(self.authorization) > 1 or scheme.lower() != "bearer" or not token.strip():
                return unauthorized("Authorization must be given once, as: Bearer <token>")
            return token.strip()
        bearers = [word for word in self._offered if word.startswith(_BEARER)]
        if bearers and not self.is_v1:
            return bad_request(
                f"the subprotocol bearer.<token> goes beside {SUBPROTOCOL}: offer both"
            )
        if len(bearers) > 1:
            return bad_request("the subprotocol bearer.<token> must be offered once")
        if bearers:
            return bearers[0].removeprefix(_BEARER)
        return unauthorized(
            "a token is required: Authorization: Bearer <token>, "
            f"or the subprotocols {SUBPROTOCOL}, bearer.<token>"
        )

    def project_id(self, id_type: IdType) -> str | Refusal:
        """The project asked for, canonical."""
        if not self.project_ids or not self.project_ids[0]:
            return bad_request("project_id is missing: connect with ?project_id=<id>")
        if len(set(self.project_ids)) > 1:
            return bad_request("project_id is given twice: connect with one")
        try:
            return parse_id(self.project_ids[0], id_type)
        except InvalidId as exc:
            return bad_request(f"project_id {exc}")


def _tokens(values: Sequence[str]) -> set[str]:
    return {word.strip().lower() for value in values for word in value.split(",")}

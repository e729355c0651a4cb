"""Verifies tokens (JWT, RFC 7519)."""

from dataclasses import dataclass
from typing import Any, Final

import jwt

from shared.core.channels import IdType, InvalidId, parse_id
from shared.core.close_codes import TOKEN_EXPIRED, Refusal, unauthorized

_ALGORITHMS: Final = ("HS256", "HS384", "HS512")
MAX_TOKEN_BYTES: Final = 8192


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom a token stands for; the id in its canonical spelling."""

    user_id: str


class TokenVerifier:
    """Holds the key, so that nobody else needs to."""

    def __init__(
        self,
        secret: str,
        *,
        issuer: str | None,
        audience: str | None,
        user_claim: str,
        user_type: IdType,
    ) -> None:
        self._secret = secret
        self._issuer = issuer
        self._audience = audience
        self._user_claim = user_claim
        self._user_type = user_type

    def verify(self, token: str) -> Identity | Refusal:
        """Whom the token stands for, or why it is refused (never repeating any of it)."""
        if len(token) > MAX_TOKEN_BYTES:
            return unauthorized("the token is too long")
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                self._secret,
                algorithms=_ALGORITHMS,
                issuer=self._issuer,
                audience=self._audience,
                options={"require": ["exp"], "verify_aud": self._audience is not None},
            )
        except jwt.ExpiredSignatureError:
            return TOKEN_EXPIRED
        except jwt.InvalidTokenError:
            return unauthorized("the token is not valid")
        user = claims.get(self._user_claim)
        if isinstance(user, bool) or not isinstance(user, str | int):
            return unauthorized(f"the token has no usable claim {self._user_claim}")
        try:
            return Identity(parse_id(str(user), self._user_type))
        except InvalidId as exc:
            return unauthorized(f"the token's claim {self._user_claim} {exc}")

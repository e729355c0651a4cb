"""Tokens that the gateways of a development stack accept."""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import jwt

TOKEN_SECONDS: Final = 30 * 24 * 3600
_OTHER_KEYS: Final = ("JWT_PUBLIC_KEY", "JWT_KEYS_FILE", "JWT_JWKS_URL")


@dataclass(frozen=True)
class TokenIssuer:
    """Signs tokens with a secret that the gateways know."""

    secret: str
    algorithm: str = "HS256"
    user_claim: str = "sub"
    claims: dict[str, str] = field(default_factory=dict)

    def issue(self, user_id: str) -> str:
        """Return a token of the user, valid for ``TOKEN_SECONDS``."""
        expires = int(time.time()) + TOKEN_SECONDS
        claims: dict[str, Any] = {**self.claims, self.user_claim: user_id, "exp": expires}
        return jwt.encode(claims, self.secret, algorithm=self.algorithm)

    def describe(self) -> dict[str, Any]:
        """Return the arguments of this issuer, for JSON."""
        return asdict(self)


def issuer_for(settings: Mapping[str, str], own_secret: str) -> TokenIssuer | None:
    """Return an issuer whose tokens a gateway with these settings accepts.

    *own_secret* is used if the settings name no key. None: they name a key that only verifies.
    """
    if any(settings.get(name) for name in _OTHER_KEYS):
        return None
    algorithms = settings.get("JWT_ALGORITHMS", "").replace(",", " ").split()
    claims = {"iss": settings.get("JWT_ISSUER"), "aud": settings.get("JWT_AUDIENCE")}
    return TokenIssuer(
        settings.get("JWT_SECRET") or own_secret,
        (algorithms or ["HS256"])[0],
        settings.get("JWT_USER_CLAIM") or "sub",
        {name: value for name, value in claims.items() if value},
    )

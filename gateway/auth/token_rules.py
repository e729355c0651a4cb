"""Checks of a token's claims (RFC 7519, section 4.1), once its signature is verified."""

import json
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from shared.protocol.channels import IdType, InvalidId, parse_id
from shared.protocol.close_codes import TOKEN_EXPIRED, Refusal, unauthorized

_MAX_SECONDS: Final = 2**53  # integers are exact in floats, and so in JSON, up to here


@dataclass(frozen=True, slots=True)
class Identity:
    """The user of a token, as a canonical id, and the token's expiry (``exp``, Unix seconds).

    ``verified_by`` is a hash of the key, the algorithm and the rules by which the token was
    verified, the same in every gateway; it is empty until then.
    """

    user_id: str
    expires_at: int
    verified_by: str = ""


@dataclass(frozen=True, slots=True)
class TokenRules:
    """Requirements on a token; None: any issuer, or any audience."""

    issuer: str | None
    audience: str | None
    user_claim: str
    user_type: IdType
    leeway_seconds: int

    def check(self, claims: dict[str, Any], now: float) -> Identity | Refusal:
        """Return the identity that the claims state, or the reason to refuse them.

        ``TOKEN_EXPIRED`` means that the token is valid except that it has expired.
        """
        if self.issuer is not None and claims.get("iss") != self.issuer:
            return unauthorized("the token is from another issuer")
        if self.audience is not None and not _is_for(self.audience, claims.get("aud")):
            return unauthorized("the token is for another audience")
        for name in ("nbf", "iat"):
            since = _seconds(claims.get(name, 0))
            if since is None:
                return unauthorized(f"the token's claim {name} must be a time in seconds")
            if since > now + self.leeway_seconds:
                return unauthorized(f"the token is not valid yet ({name})")
        expires_at = _seconds(claims.get("exp"))
        if expires_at is None:
            return unauthorized("the token must have a claim exp, a time in seconds")
        identity = self._identify(claims.get(self.user_claim), expires_at)
        if isinstance(identity, Identity) and self.has_expired(identity, now):
            return TOKEN_EXPIRED
        return identity

    def hash_with(self, thumbprint: str) -> str:
        """Return ``Identity.verified_by`` for a key and algorithm with that thumbprint."""
        rules = [thumbprint, self.issuer, self.audience, self.user_claim]
        return sha256(json.dumps(rules).encode()).hexdigest()

    def has_expired(self, identity: Identity, now: float) -> bool:
        return identity.expires_at + self.leeway_seconds <= now

    def _identify(self, user: object, expires_at: float) -> Identity | Refusal:
        if isinstance(user, bool) or not isinstance(user, str | int):
            return unauthorized(f"the token has no usable claim {self.user_claim}")
        try:
            return Identity(parse_id(str(user), self.user_type), int(expires_at))
        except InvalidId as exc:
            return unauthorized(f"the token's claim {self.user_claim} {exc}")


def _is_for(audience: str, claimed: object) -> bool:
    return audience in claimed if isinstance(claimed, list) else audience == claimed


def _seconds(claimed: object) -> float | None:
    if isinstance(claimed, bool) or not isinstance(claimed, int | float):
        return None
    return claimed if abs(claimed) < _MAX_SECONDS else None  # false for inf and NaN

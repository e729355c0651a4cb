"""Rules: why a token is refused, or what is unusual about it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from gateway.auth.token_rules import Identity
from shared.protocol.close_codes import TOKEN_EXPIRED, Refusal
from shared.runtime.findings import Finding, note, problem

LONG_LIVED_SECONDS: Final = 86_400
UNAVAILABLE: Final = 503


@dataclass(frozen=True, slots=True)
class TokenFacts:
    """What is known of a token. Neither it nor its signature is among it.

    ``outcome``: what the gateway's verifier said. ``header`` and ``claims``: None if that part
    is not JSON. ``claims_refusal``: why the rules refuse the claims, whoever signed them.
    ``now``: in Unix seconds.
    """

    outcome: Identity | Refusal
    header: Mapping[str, Any] | None
    claims: Mapping[str, Any] | None
    has_key: bool
    claims_refusal: Refusal | None
    now: float

    def describe(self) -> dict[str, Any]:
        """Return what the token says, for the report."""
        header, claims = self.header or {}, self.claims or {}
        expires_at = _number(claims.get("exp"))
        return {
            "user": self.outcome.user_id if isinstance(self.outcome, Identity) else None,
            "algorithm": header.get("alg"),
            "kid": header.get("kid"),
            "issuer": claims.get("iss"),
            "audience": claims.get("aud"),
            "expires_in_seconds": None if expires_at is None else round(expires_at - self.now),
        }


def find_in_token(facts: TokenFacts) -> list[Finding]:
    """Return the findings."""
    if isinstance(facts.outcome, Identity):
        return _find_notes(facts, facts.outcome)
    refusal = facts.outcome
    if refusal.status == UNAVAILABLE:
        return [
            problem(
                "token.keys",
                "the keys that verify tokens cannot be read",
                "see JWT_JWKS_URL or JWT_KEYS_FILE, and whether this host can read it",
            )
        ]
    if facts.header is None or facts.claims is None:
        return [
            problem(
                "token.malformed",
                "it is not a JWT, which is three parts of base64url with dots between them",
                "pass the token alone, without Bearer and without quotes",
            )
        ]
    if not facts.has_key:
        return [
            problem(
                "token.unknown_key",
                f"no key here has the kid {facts.header.get('kid')!r} and the algorithm "
                f"{facts.header.get('alg')!r} of the token",
                "compare JWT_SECRET, JWT_PUBLIC_KEY, JWT_KEYS_FILE or JWT_JWKS_URL, and "
                "JWT_ALGORITHMS, with the issuer's",
            )
        ]
    if refusal == TOKEN_EXPIRED:
        age = facts.now - (_number(facts.claims.get("exp")) or facts.now)
        return [
            problem(
                "token.expired",
                f"it has expired {age:.0f} s ago",
                "take a new one; if this one is new, compare the issuer's clock with ours",
            )
        ]
    if facts.claims_refusal not in (None, TOKEN_EXPIRED):
        said = {name: facts.claims.get(name) for name in ("iss", "aud", "nbf", "iat", "exp")}
        return [
            problem(
                "token.claims",
                f"{facts.claims_refusal.message if facts.claims_refusal else ''} (it says "
                f"{', '.join(f'{name}={value!r}' for name, value in said.items())})",
                "compare JWT_ISSUER, JWT_AUDIENCE, JWT_USER_CLAIM and [access] user_type with "
                "the issuer's",
            )
        ]
    return [
        problem(
            "token.signature",
            "its signature does not fit: another key has signed it, or it was changed",
            "compare the key here (JWT_SECRET, JWT_PUBLIC_KEY, ...) with the issuer's",
        )
    ]


def _find_notes(facts: TokenFacts, identity: Identity) -> list[Finding]:
    left = identity.expires_at - facts.now
    if left <= LONG_LIVED_SECONDS:
        return []
    return [
        note(
            "token.long_lived",
            f"it is valid for {left / 3600:.0f} h more: whoever gets hold of it can use it as "
            "long",
            "issue tokens for minutes or hours; clients get new ones without a reconnect",
        )
    ]


def _number(claim: object) -> float | None:
    is_number = isinstance(claim, int | float) and not isinstance(claim, bool)
    return float(claim) if is_number else None  # type: ignore[arg-type]

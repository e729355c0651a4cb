"""Why a token is refused, in words."""

from typing import Any

import pytest

from gateway.auth.token_rules import Identity
from operations.check.token_findings import TokenFacts, find_in_token
from shared.protocol.close_codes import TOKEN_EXPIRED, unauthorized, unavailable

NOW = 1_000_000.0
NOT_VALID = unauthorized("the token is not valid")
AUDIENCE = unauthorized("the token is for another audience")
CLAIMS = {"sub": "ada", "exp": int(NOW) + 600, "aud": "other"}


def facts(outcome: Any = NOT_VALID, **more: Any) -> TokenFacts:
    known = {"header": {"alg": "HS256"}, "claims": CLAIMS, "has_key": True}
    return TokenFacts(outcome, **{**known, "claims_refusal": None, "now": NOW, **more})


def test_a_valid_token_has_no_findings_and_is_described() -> None:
    fine = facts(Identity("ada", int(NOW) + 600))
    assert find_in_token(fine) == []
    assert fine.describe() == {
        "user": "ada",
        "algorithm": "HS256",
        "kid": None,
        "issuer": None,
        "audience": "other",
        "expires_in_seconds": 600,
    }


def test_a_token_that_says_nothing_is_described() -> None:
    assert set(facts(header=None, claims=None).describe().values()) == {None}


@pytest.mark.parametrize(
    ("wrong", "id_", "severity", "text"),
    [
        (facts(unavailable("no keys")), "keys", "problem", "cannot be read"),
        (facts(header=None), "malformed", "problem", "without Bearer"),
        (facts(claims=None), "malformed", "problem", "not a JWT"),
        (facts(has_key=False), "unknown_key", "problem", "'HS256'"),
        (
            facts(TOKEN_EXPIRED, claims={"exp": int(NOW) - 30}),
            "expired",
            "problem",
            "30 s ago",
        ),
        (facts(TOKEN_EXPIRED, claims={"exp": True}), "expired", "problem", "0 s ago"),
        (facts(AUDIENCE, claims_refusal=AUDIENCE), "claims", "problem", "aud='other'"),
        (facts(), "signature", "problem", "another key"),
        (facts(claims_refusal=TOKEN_EXPIRED), "signature", "problem", "another key"),
        (facts(Identity("ada", int(NOW) + 10**6)), "long_lived", "note", "278 h"),
    ],
)
def test_each_refusal_is_a_finding(
    wrong: TokenFacts, id_: str, severity: str, text: str
) -> None:
    [found] = find_in_token(wrong)
    assert (found.id, found.severity) == (f"token.{id_}", severity)
    assert text in found.text
    assert found.todo

"""Identities are withdrawn with the keys that verified them."""

from dataclasses import replace
from typing import Any, Final

import pytest

from gateway.auth.key_set import (
    parse_jwks,
    parse_secret,
)
from gateway.auth.key_sources import DocumentUnavailable, FixedKeys
from gateway.auth.token_rules import Identity
from gateway.auth.token_verifier import KEY_WITHDRAWN, TokenVerifier
from shared.protocol.close_codes import TOKEN_EXPIRED, Refusal
from tests.unit.gateway.auth.keys_and_tokens import (
    GOOD,
    ME,
    NOW,
    RSA,
    RSA_2,
    RULES,
    SECRET,
    A,
    B,
    Clock,
    Counted,
    Document,
    document_keys,
    jwk,
    jwks,
    signed,
    verifier,
)


async def verified(held: TokenVerifier, token: str) -> Identity:
    identity = await held.verify(token)
    assert isinstance(identity, Identity)
    assert not held.is_withdrawn(identity)
    return identity


OCT: Final = jwk(SECRET, "HS256")
OTHER_OCT: Final = jwk("t" * 64, "HS256")
RS: Final = jwk(RSA, "RS256")
RS_2: Final = jwk(RSA_2, "RS256")


@pytest.mark.parametrize(
    ("before", "token", "after", "is_withdrawn"),
    [
        ([{**RS, "kid": "a"}], ("a", RSA), [{**RS_2, "kid": "b"}], True),
        ([{**RS, "kid": "a"}], ("a", RSA), [{**RS_2, "kid": "a"}], True),
        ([RS], (None, RSA), [RS_2], True),
        ([RS], (None, RSA), [{**RS, "use": "sig", "kid": "b"}], False),
        (
            [{**RS, "kid": "a"}, {**RS_2, "kid": "b"}],
            ("b", RSA_2),
            [{**RS_2, "kid": "b"}, {**RS, "kid": "a"}],
            False,
        ),
        ([{**RS, "kid": "a"}, {**RS_2, "kid": "b"}], ("b", RSA_2), [{**RS, "kid": "a"}], True),
        ([OCT], (None, SECRET), [OTHER_OCT], True),
        ([OCT], (None, SECRET), [{**OCT, "kid": "x"}], False),
        ([OCT], (None, SECRET), [{**OCT, "alg": "HS512"}], True),
        ([OCT], (None, SECRET), [{**OCT, "alg": "HS256"}], False),
    ],
    ids=[
        "another key",
        "another key of the same kid",
        "without a kid",
        "the same key, named",
        "another order",
        "one of two",
        "another secret",
        "the same secret, named",
        "another algorithm only",
        "its algorithm only",
    ],
)
async def test_an_identity_is_withdrawn_with_its_key(
    before: list[Any], token: tuple[str | None, Any], after: list[Any], *, is_withdrawn: bool
) -> None:
    source = Counted(parse_jwks(jwks(*before)))
    held = verifier(source)
    kid, key = token
    header = None if kid is None else {"kid": kid}
    algorithm = "HS256" if isinstance(key, str) else "RS256"
    identity = await verified(held, signed(key, algorithm, header=header))
    source.keys = parse_jwks(jwks(*after))
    assert held.is_withdrawn(identity) is is_withdrawn


async def test_verified_by_is_the_same_in_every_gateway() -> None:
    """It covers the settings that a restart may change: a ticket outlives it."""
    identity = await verified(verifier(parse_secret(SECRET)), GOOD)
    assert await verified(verifier(parse_secret(SECRET)), GOOD) == identity
    assert SECRET not in identity.verified_by
    keys = FixedKeys(parse_secret(SECRET))
    for changed in (
        replace(RULES, issuer=None),
        replace(RULES, audience=None),
        replace(RULES, user_claim="uid"),
    ):
        assert TokenVerifier(keys, changed, now=lambda: NOW).is_withdrawn(identity)
    assert verifier(parse_secret("t" * 64)).is_withdrawn(identity)


async def test_while_keys_can_not_be_read_none_is_withdrawn() -> None:
    document, clock = Document(A), Clock()
    source = document_keys(document, clock)
    held = verifier(source)
    identity = await verified(held, signed(RSA, "RS256", header={"kid": "a"}))
    for content in (DocumentUnavailable("unavailable"), b"garbage", b'{"keys":[]}'):
        document.content = content
        clock.now += 5
        await source.refresh()
        assert source.state == "degraded"
        assert not held.is_withdrawn(identity)
        assert await held.confirm(identity) == identity


async def test_an_identity_that_another_gateway_verified_is_confirmed() -> None:
    """Its key may be newer than those read here; an unknown key is refused."""
    document, clock = Document(B), Clock()
    other = verifier(parse_jwks(B))
    identity = await verified(other, signed(RSA_2, "RS256", header={"kid": "b"}))
    source = document_keys(document, clock)
    held = verifier(source)
    assert await held.confirm(identity) == identity, "the keys were not read before"
    document.content = A
    clock.now += 5
    await source.refresh()
    document.content = B
    clock.now += 5
    assert await held.confirm(identity) == identity
    document.content = A
    clock.now += 5
    await source.refresh()
    clock.now += 5
    assert await held.confirm(identity) == KEY_WITHDRAWN
    document.content = DocumentUnavailable("unavailable")
    clock.now += 5
    refusal = await held.confirm(identity)
    assert isinstance(refusal, Refusal)
    assert refusal.status == 503, "its key may not be known here yet"
    assert await held.confirm(replace(identity, expires_at=0)) == TOKEN_EXPIRED
    missing = await verifier(Counted(None)).confirm(identity)
    assert isinstance(missing, Refusal)
    assert missing.status == 503


async def test_only_an_unknown_key_makes_the_verifier_refresh_its_keys() -> None:
    source = Counted(parse_jwks(jwks(jwk(RSA, "RS256", kid="a"))))
    held = verifier(source)
    for token in (signed(RSA, "RS256", header={"kid": "a"}), signed(RSA, "RS256"), "x", GOOD):
        await held.verify(token)
    assert source.refreshes == 0
    unknown = await held.verify(signed(RSA, "RS256", header={"kid": "x"}))
    assert isinstance(unknown, Refusal)
    assert (source.refreshes, unknown.status) == (1, 401)


async def test_while_keys_can_not_be_read_the_refusal_is_unavailable() -> None:
    source = Counted(None)
    held = verifier(source)
    token = signed(RSA, "RS256", header={"kid": "a"})
    missing = await held.verify(token)
    assert isinstance(missing, Refusal)
    assert (missing.status, missing.code) == (503, "unavailable")
    source.keys, source.state = parse_jwks(jwks(jwk(RSA_2, "RS256", kid="b"))), "degraded"
    assert await held.verify(token) == missing
    assert await held.verify(signed(RSA_2, "RS256", header={"kid": "b"})) == ME

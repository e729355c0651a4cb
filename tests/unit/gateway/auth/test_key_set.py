"""Key sets: which keys are accepted, ignored or refused."""

import json
from typing import Any, Final

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from gateway.auth.key_set import (
    InvalidKeys,
    Key,
    parse_jwks,
    parse_public_key,
    parse_secret,
)
from tests.unit.gateway.auth.keys_and_tokens import EC, RSA, RSA_WEAK, SECRET, jwk, jwks, pem


def private(key: Any) -> str:
    text: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return text.decode()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must be a public key in PEM"),
        ("garbage", "must be a public key in PEM"),
        (private(RSA), "must be a public key in PEM"),
        (pem(RSA)[:-40], "must be a public key in PEM"),
        (pem(RSA_WEAK), "at least 2048 bits"),
        (pem(ec.generate_private_key(ec.SECP384R1())), "RSA, P-256 or Ed25519"),
        (pem(ed448.Ed448PrivateKey.generate()), "RSA, P-256 or Ed25519"),
    ],
    ids=["empty", "garbage", "private", "truncated", "weak", "P-384", "Ed448"],
)
def test_an_unusable_public_key_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidKeys, match=message):
        parse_public_key(text)


@pytest.mark.parametrize(
    ("secret", "message"),
    [("s" * 31, "at least 32 bytes"), (pem(RSA), "must be a secret, not a key")],
    ids=["short", "public key"],
)
def test_an_unusable_secret_is_refused(secret: str, message: str) -> None:
    with pytest.raises(InvalidKeys, match=message):
        parse_secret(secret)


GOOD_JWK: Final = jwk(EC, "ES256", kid="good")


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (7, "is not an object"),
        ({}, "unsupported kty or crv"),
        ({"kty": ["RSA"]}, "unsupported kty or crv"),
        (jwk(ec.generate_private_key(ec.SECP384R1()), "ES384"), "unsupported kty or crv"),
        ({**GOOD_JWK, "kid": 7}, "kid that is not a string"),
        (jwk(RSA, "RS256", use="enc"), "not for verifying"),
        (jwk(RSA, "RS256", key_ops=["sign"]), "not for verifying"),
        (jwk(RSA, "RS256", key_ops=7), "not for verifying"),
        (jwk(RSA, "RS256", alg="HS256"), "unsupported alg"),
        (jwk(RSA, "RS256", alg="RS512"), "unsupported alg"),
        (jwk(RSA_WEAK, "RS256"), "at least 2048 bits"),
        (jwk("s" * 31, "HS256"), "at least 32 bytes"),
        (json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(RSA)) | {"key_ops": ["verify"]}, "priv"),
        ({"kty": "RSA", "n": "AQAB"}, "is malformed"),
        ({"kty": "RSA", "n": 7, "e": []}, "is malformed"),
        ({"kty": "EC", "crv": "P-256", "x": "AAAA", "y": "AAAA"}, "is malformed"),
        ({**GOOD_JWK, "x": GOOD_JWK["y"]}, "is malformed"),
        ({"kty": "OKP", "crv": "Ed25519"}, "is malformed"),
        ({"kty": "oct"}, "is malformed"),
    ],
)
def test_an_unusable_key_of_a_set_is_ignored(bad: Any, message: str) -> None:
    keys = parse_jwks(jwks(bad, GOOD_JWK))
    assert [key.kid for key in keys.keys] == ["good"]
    assert message in keys.unused[0]
    assert keys.unused[0].startswith("key 1 ")
    with pytest.raises(InvalidKeys, match=message):
        parse_jwks(jwks(bad))


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (b"", "is not JSON"),
        (b"\xff", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"[]", "is not a JWK set"),
        (b'{"keys":{}}', "is not a JWK set"),
        (b'{"keys":[]}', "no usable key"),
        (jwks(GOOD_JWK, jwk(RSA, "RS256", kid="good")), "a different kid"),
        (jwks(GOOD_JWK, jwk(RSA, "RS256")), "a different kid"),
    ],
    ids=["empty", "binary", "deep", "list", "object", "no key", "duplicate kid", "no kid"],
)
def test_a_document_that_is_not_a_set_of_distinct_keys_is_refused(
    document: bytes, message: str
) -> None:
    with pytest.raises(InvalidKeys, match=message):
        parse_jwks(document)


def test_a_secret_may_be_in_a_file_but_not_in_a_published_set() -> None:
    document = jwks(jwk(SECRET, "HS256", alg="HS256"))
    assert parse_jwks(document).keys == (Key(None, SECRET.encode(), ("HS256",)),)
    with pytest.raises(InvalidKeys, match="must not be published"):
        parse_jwks(document, is_public=True)


JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=2),
    max_leaves=3,
)


@given(
    st.sampled_from(["oct", "RSA", "EC", "OKP"]),
    st.dictionaries(
        st.sampled_from(["crv", "k", "n", "e", "d", "p", "x", "y", "kid", "alg", "use"]),
        JSON | st.sampled_from(["P-256", "Ed25519", "AQAB", "AAAA"]),
    ),
)
def test_any_key_of_a_set_is_parsed_or_ignored(kty: str, members: dict[str, Any]) -> None:
    keys = parse_jwks(jwks({"kty": kty, **members}, GOOD_JWK)) if "kid" not in members else None
    assert keys is None or len(keys.keys) + len(keys.unused) == 2

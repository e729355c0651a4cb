"""Verification of tokens: only valid, current tokens for this audience are accepted."""

import asyncio
import hmac
import json
from typing import Any, Final

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st

from gateway.auth.key_set import (
    ALGORITHMS,
    InvalidKeys,
    parse_jwks,
    parse_public_key,
    parse_secret,
)
from gateway.auth.key_sources import FixedKeys
from gateway.auth.token_rules import TokenRules
from gateway.auth.token_verifier import MAX_TOKEN_BYTES, TokenVerifier
from shared.protocol.close_codes import TOKEN_EXPIRED, Refusal
from tests.unit.gateway.auth.keys_and_tokens import (
    BY_RSA,
    BY_SECRET,
    BY_SET,
    CLAIMS,
    EC,
    ED,
    EXP,
    GOOD,
    HEADER,
    ME,
    NOW,
    RSA,
    RSA_2,
    RULES,
    SECRET,
    Bearer,
    Clock,
    Counted,
    assembled,
    jwk,
    jwks,
    pem,
    segment,
    signed,
    verifier,
)


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
async def test_each_algorithm_of_a_secret_is_accepted(algorithm: str) -> None:
    assert await BY_SECRET.verify(signed(SECRET, algorithm)) == ME


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [(RSA, "RS256"), (EC, "ES256"), (ED, "EdDSA")],
    ids=["RS256", "ES256", "EdDSA"],
)
async def test_each_algorithm_of_a_public_key_is_accepted(key: Any, algorithm: str) -> None:
    token = signed(key, algorithm)
    for text in (pem(key), pem(key).replace("\n", "\\n")):
        assert await verifier(parse_public_key(text)).verify(token) == ME
    document = jwks(jwk(key, algorithm, kid="k", use="sig", key_ops=["verify"]))
    by_set = verifier(parse_jwks(document))
    assert await by_set.verify(token) == ME  # it names no key, but there is only one
    assert await by_set.verify(signed(key, algorithm, header={"kid": "k"})) == ME
    assert isinstance(await BY_SECRET.verify(token), Refusal)


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
async def test_a_secret_of_32_bytes_will_do_for_each_hmac() -> None:
    assert await verifier(parse_secret("s" * 32)).verify(signed("s" * 32, "HS512")) == ME


@pytest.mark.parametrize(
    "token",
    [
        signed(nbf=NOW, iat=NOW),
        signed(nbf=NOW + 5, iat=NOW + 5),
        signed(iat=NOW + 0.5),
        signed(sub="007"),
        assembled(HEADER, CLAIMS.replace(b'"7"', b"7")),
        signed(aud=["other", "app"]),
        signed(header={"kid": "anything", "typ": "at+jwt"}),
        signed(exp=EXP + 0.9),
    ],
    ids=["since now", "within leeway", "fraction", "zeros", "number", "two aud", "kid", "exp"],
)
async def test_a_valid_token_gives_its_user(token: str) -> None:
    assert await BY_SECRET.verify(token) == ME


@pytest.mark.parametrize("exp", [NOW - 5, NOW - 5.5, 1, 0, -1])
async def test_an_expired_token_has_its_own_refusal(exp: float) -> None:
    assert await BY_SECRET.verify(signed(exp=exp)) == TOKEN_EXPIRED


async def test_an_expired_token_is_accepted_within_the_leeway() -> None:
    assert await BY_SECRET.verify(signed(exp=NOW - 4)) == Bearer("7", NOW - 4)


def confused(algorithm: str = "HS256") -> str:
    """Signed with the text of the public key as if it were a secret."""
    digest = {"HS256": "sha256", "HS384": "sha384", "HS512": "sha512"}[algorithm]
    said = f"{segment(json.dumps({'alg': algorithm}).encode())}.{segment(CLAIMS)}"
    return f"{said}.{segment(hmac.digest(pem(RSA).encode(), said.encode(), digest))}"


def unsigned(algorithm: str) -> str:
    return f"{segment(json.dumps({'alg': algorithm}).encode())}.{segment(CLAIMS)}."


EVIL: Final = rsa.generate_private_key(65537, 2048)
REFUSED: Final[dict[str, tuple[TokenVerifier, str]]] = {
    "empty": (BY_SECRET, ""),
    "not yet valid": (BY_SECRET, signed(nbf=NOW + 6)),
    "issued in the future": (BY_SECRET, signed(iat=NOW + 6)),
    "nbf is text": (BY_SECRET, signed(nbf="1")),
    "nbf is null": (BY_SECRET, assembled(HEADER, CLAIMS[:-1] + b',"nbf":null}')),
    "iat is a list": (BY_SECRET, signed(iat=[])),
    "no exp": (BY_SECRET, signed(exp=None)),
    "exp is text": (BY_SECRET, assembled(HEADER, CLAIMS.replace(b"%d" % EXP, b'"%d"' % EXP))),
    "exp is true": (BY_SECRET, assembled(HEADER, b'{"sub":"7","exp":true}')),
    "exp is NaN": (BY_SECRET, assembled(HEADER, CLAIMS[:-1] + b',"exp":NaN}')),
    "exp is infinite": (BY_SECRET, assembled(HEADER, CLAIMS[:-1] + b',"exp":1e999}')),
    "exp is endless": (
        BY_SECRET,
        assembled(HEADER, CLAIMS[:-1] + b',"exp":' + b"9" * 500 + b"}"),
    ),
    "exp has 5,000 digits": (
        BY_SECRET,
        assembled(HEADER, CLAIMS[:-1] + b',"exp":' + b"9" * 5000 + b"}"),
    ),
    "wrong iss": (BY_SECRET, signed(iss="them")),
    "no iss": (BY_SECRET, signed(iss=None)),
    "iss is a list": (BY_SECRET, assembled(HEADER, CLAIMS.replace(b'"us"', b'["us"]'))),
    "wrong aud": (BY_SECRET, signed(aud="other")),
    "part of aud": (BY_SECRET, signed(aud="apple")),
    "wrong auds": (BY_SECRET, signed(aud=["other", "apple"])),
    "no aud": (BY_SECRET, signed(aud=None)),
    "expired and of another issuer": (BY_SECRET, signed(iss="them", exp=1)),
    "no user": (BY_SECRET, signed(sub=None)),
    "user is true": (BY_SECRET, assembled(HEADER, CLAIMS.replace(b'"7"', b"true"))),
    "user is a list": (BY_SECRET, assembled(HEADER, CLAIMS.replace(b'"7"', b'["7"]'))),
    "user is of another type": (BY_SECRET, signed(sub="ada")),
    "another secret": (BY_SECRET, signed("x" * 64)),
    "another key": (BY_RSA, signed(RSA_2, "RS256")),
    "key of another kid": (BY_SET, signed(RSA, "RS256", header={"kid": "b"})),
    "unknown kid": (BY_SET, signed(RSA, "RS256", header={"kid": "x"})),
    "no kid where it is needed": (BY_SET, signed(RSA, "RS256")),
    "alg of another key": (BY_SET, signed(RSA, "RS256", header={"kid": "c"})),
    "kid is a number": (BY_SET, assembled(b'{"alg":"RS256","kid":1}', CLAIMS)),
    "duplicate kid": (
        BY_SET,
        assembled(b'{"alg":"RS256","kid":"a","kid":"b"}', CLAIMS, by=RSA),
    ),
    "no signature": (BY_SECRET, GOOD.rpartition(".")[0] + "."),
    "signature of nothing": (BY_RSA, unsigned("RS256")),
    "two parts": (BY_SECRET, GOOD.rpartition(".")[0]),
    "four parts": (BY_SECRET, GOOD + ".x"),
    "five parts (JWE)": (BY_SECRET, f"{GOOD}.x.y"),
    "truncated": (BY_SECRET, GOOD[:-5]),
    "another payload": (
        BY_SECRET,
        ".".join([GOOD.split(".")[0], segment(CLAIMS + b" "), GOOD.split(".")[2]]),
    ),
    "junk within": (BY_SECRET, GOOD[:10] + "!" + GOOD[10:]),
    "not ASCII": (BY_SECRET, GOOD + "\u00e4"),
    "a lone surrogate": (BY_SECRET, GOOD + "\udcff"),
    "a line end": (BY_SECRET, GOOD + "\n"),
    "header is not JSON": (BY_SECRET, assembled(b"alg", CLAIMS)),
    "header is not an object": (BY_SECRET, assembled(b"[]", CLAIMS)),
    "header is deep": (BY_SECRET, assembled(b"[" * 5000, CLAIMS)),
    "payload is not JSON": (BY_SECRET, assembled(HEADER, b"sub")),
    "payload is no UTF-8": (BY_SECRET, assembled(HEADER, b'{"sub":"\xff"}')),
    "payload is not an object": (BY_SECRET, assembled(HEADER, b"[]")),
    "payload is deep": (BY_SECRET, assembled(HEADER, b"[" * 5000)),
    "no alg": (BY_SECRET, assembled(b"{}", CLAIMS)),
    "alg is a list": (BY_SECRET, assembled(b'{"alg":["HS256"]}', CLAIMS)),
    "alg in lower case": (BY_SECRET, assembled(b'{"alg":"hs256"}', CLAIMS)),
    "critical header": (
        BY_SECRET,
        assembled(b'{"alg":"HS256","crit":["x"],"x":1}', CLAIMS),
    ),
    "critical header of nothing": (BY_SECRET, assembled(b'{"alg":"HS256","crit":[]}', CLAIMS)),
    "unencoded payload": (
        BY_SECRET,
        assembled(b'{"alg":"HS256","crit":["b64"],"b64":false}', CLAIMS),
    ),
    "embedded jwk": (BY_RSA, signed(EVIL, "RS256", header={"jwk": jwk(EVIL, "RS256")})),
    "embedded jku": (BY_RSA, signed(EVIL, "RS256", header={"jku": "https://evil.test"})),
    "embedded x5u": (BY_RSA, signed(EVIL, "RS256", header={"x5u": "https://evil.test"})),
    "embedded x5c": (BY_RSA, signed(EVIL, "RS256", header={"x5c": ["AAAA"]})),
    "embedded jwk beside a set": (
        BY_SET,
        signed(EVIL, "RS256", header={"kid": "a", "jwk": jwk(EVIL, "RS256", kid="a")}),
    ),
    "RS256 where a secret is held": (BY_SECRET, signed(RSA, "RS256")),
    "PS256": (BY_RSA, signed(RSA, "PS256")),
    "RS512": (BY_RSA, signed(RSA, "RS512")),
    **{f"public key as {name} secret": (BY_RSA, confused(name)) for name in ALGORITHMS[:3]},
    **{
        f"alg {name} by {label}": (held, unsigned(name))
        for name in ("none", "None", "NONE", "nOnE", "")
        for label, held in (("secret", BY_SECRET), ("key", BY_RSA), ("set", BY_SET))
    },
}


@pytest.mark.parametrize("name", REFUSED)
async def test_an_invalid_token_is_refused_and_not_quoted(name: str) -> None:
    held, token = REFUSED[name]
    refusal = await held.verify(token)
    assert isinstance(refusal, Refusal)
    assert (refusal.status, refusal.code) == (401, "unauthorized")
    assert not token or token not in refusal.message
    assert await held.verify(token) == refusal  # nor is it cached as valid


async def test_a_huge_token_is_refused_before_it_is_parsed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def parse(*_: Any) -> None:
        raise AssertionError("it was parsed")

    longest = "x" * MAX_TOKEN_BYTES
    assert isinstance(await BY_SECRET.verify(longest), Refusal)
    monkeypatch.setattr("gateway.auth.token_verifier.sha256", parse)
    monkeypatch.setattr(jwt.PyJWS, "get_unverified_header", parse)
    for huge in (longest + "x", "x" * 2**20, "." * 2**20):
        refusal = await BY_SECRET.verify(huge)
        assert isinstance(refusal, Refusal)
        assert refusal.message == "the token is too long"


@given(st.text(max_size=200) | st.from_regex(r"[\w-]{0,40}\.[\w-]{0,40}\.[\w-]{0,40}"))
def test_any_text_is_refused_without_an_exception(text: str) -> None:
    assert isinstance(asyncio.run(BY_SECRET.verify(text)), Refusal)


async def test_issuer_and_audience_matter_only_where_they_are_set() -> None:
    rules = TokenRules(None, None, "uid", "text", leeway_seconds=0)
    held = verifier(parse_secret(SECRET), rules)
    assert await held.verify(signed(uid="ada", iss=None)) == Bearer("ada", EXP)
    assert isinstance(await held.verify(signed()), Refusal)  # it has a sub, but no uid


async def test_only_allowed_algorithms_are_accepted() -> None:
    held = verifier(parse_secret(SECRET, ["HS512", "RS256"]))
    assert await held.verify(signed(SECRET, "HS512")) == ME
    assert isinstance(await held.verify(signed(SECRET, "HS256")), Refusal)
    nothing_fits = pytest.raises(InvalidKeys, match="supports none of the allowed")
    with nothing_fits:
        parse_secret(SECRET, ["RS256"])
    with nothing_fits:
        parse_public_key(pem(RSA), ["HS256", "ES256"])
    with nothing_fits:
        parse_jwks(jwks(jwk(RSA, "RS256")), ["ES256"])


def count_checks(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    checks: list[None] = []
    decode = jwt.PyJWS.decode

    def counted(*arguments: Any) -> Any:
        checks.append(None)
        return decode(*arguments)

    monkeypatch.setattr(jwt.PyJWS, "decode", counted)
    return checks


async def test_a_verified_token_is_cached_until_it_expires(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checks, clock = count_checks(monkeypatch), Clock()
    held = TokenVerifier(FixedKeys(parse_secret(SECRET)), RULES, now=clock)
    for _ in range(3):
        assert await held.verify(GOOD) == ME
    assert len(checks) == 1
    clock.now = EXP + 4.9
    assert await held.verify(GOOD) == ME
    clock.now = EXP + 5
    for _ in range(2):
        assert await held.verify(GOOD) == TOKEN_EXPIRED
    assert GOOD not in repr(vars(held))


async def test_the_least_recently_used_token_leaves_the_cache_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checks = count_checks(monkeypatch)
    held = TokenVerifier(FixedKeys(parse_secret(SECRET)), RULES, now=lambda: NOW, max_cached=2)
    a, b, c = (signed(jti=name) for name in "abc")
    for token in (a, b, a, c, a):
        assert await held.verify(token) == ME
    assert len(checks) == 3
    assert await held.verify(b) == ME
    assert len(checks) == 4


async def test_a_removed_key_invalidates_the_tokens_that_it_verified() -> None:
    source = Counted(parse_jwks(jwks(jwk(RSA, "RS256", kid="a"))))
    held = verifier(source)
    old = signed(RSA, "RS256", header={"kid": "a"})
    assert await held.verify(old) == ME
    source.keys = parse_jwks(jwks(jwk(RSA_2, "RS256", kid="b")))
    assert isinstance(await held.verify(old), Refusal)
    assert await held.verify(signed(RSA_2, "RS256", header={"kid": "b"})) == ME

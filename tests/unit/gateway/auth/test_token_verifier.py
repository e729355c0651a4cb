"""Verification of tokens: only valid, current tokens for this audience are accepted."""

import asyncio
import base64
import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import jwt
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from gateway.auth.key_set import (
    ALGORITHMS,
    InvalidKeys,
    Key,
    KeySet,
    parse_jwks,
    parse_public_key,
    parse_secret,
)
from gateway.auth.key_sources import DocumentKeys, DocumentUnavailable, FixedKeys, KeySource
from gateway.auth.token_rules import Identity, TokenRules
from gateway.auth.token_verifier import KEY_WITHDRAWN, MAX_TOKEN_BYTES, TokenVerifier
from shared.protocol.close_codes import TOKEN_EXPIRED, Refusal

NOW: Final = 1_800_000_000
EXP: Final = NOW + 3600
SECRET: Final = "s" * 64
RSA: Final = rsa.generate_private_key(65537, 2048)
RSA_2: Final = rsa.generate_private_key(65537, 2048)
RSA_WEAK: Final = rsa.generate_private_key(65537, 1024)
EC: Final = ec.generate_private_key(ec.SECP256R1())
ED: Final = ed25519.Ed25519PrivateKey.generate()
RULES: Final = TokenRules("us", "app", "sub", "bigint", leeway_seconds=5)


@dataclass(frozen=True, eq=False)
class Bearer:
    """Equals each verified identity of that user and expiry."""

    user_id: str
    expires_at: int

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Identity):
            return False
        is_verified = bool(other.verified_by)
        return is_verified and (other.user_id, other.expires_at) == (
            self.user_id,
            self.expires_at,
        )

    def __hash__(self) -> int:
        return hash(self.user_id)


ME: Final = Bearer("7", EXP)


def pem(key: Any) -> str:
    text: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return text.decode()


def jwk(key: Any, algorithm: str, **more: Any) -> dict[str, Any]:
    public = key if isinstance(key, str) else key.public_key()
    made: dict[str, Any] = jwt.get_algorithm_by_name(algorithm).to_jwk(public, as_dict=True)
    made.pop("key_ops", None)
    return {**made, **more}


def jwks(*keys: Any) -> bytes:
    return json.dumps({"keys": keys}).encode()


def signed(
    key: Any = SECRET,
    algorithm: str = "HS256",
    *,
    header: dict[str, Any] | None = None,
    **claims: Any,
) -> str:
    """A valid token but for the given claims; a claim of None is left out."""
    said = {"sub": "7", "exp": EXP, "iss": "us", "aud": "app", **claims}
    said = {name: value for name, value in said.items() if value is not None}
    return jwt.encode(said, key, algorithm, header)


def segment(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def assembled(header: bytes, payload: bytes, by: rsa.RSAPrivateKey | None = None) -> str:
    """A token whose parts a library would not sign."""
    said = f"{segment(header)}.{segment(payload)}"
    if by is None:
        return f"{said}.{segment(hmac.digest(SECRET.encode(), said.encode(), 'sha256'))}"
    signature = by.sign(said.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{said}.{segment(signature)}"


def verifier(source: KeySource | KeySet, rules: TokenRules = RULES) -> TokenVerifier:
    if isinstance(source, KeySet):
        source = FixedKeys(source)
    return TokenVerifier(source, rules, now=lambda: NOW)


BY_SECRET: Final = verifier(parse_secret(SECRET))
BY_RSA: Final = verifier(parse_public_key(pem(RSA)))
BY_SET: Final = verifier(
    parse_jwks(
        jwks(
            jwk(RSA, "RS256", kid="a"), jwk(RSA_2, "RS256", kid="b"), jwk(EC, "ES256", kid="c")
        )
    )
)
CLAIMS: Final = json.dumps({"sub": "7", "exp": EXP, "iss": "us", "aud": "app"}).encode()
HEADER: Final = b'{"alg":"HS256"}'


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


GOOD: Final = signed()
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


class Counted:
    """A source whose keys can be changed, and that counts how often it was refreshed."""

    def __init__(self, keys: KeySet | None) -> None:
        self.keys = keys
        self.refreshes = 0
        self.state: Any = "ok"

    async def refresh(self) -> None:
        self.refreshes += 1

    async def run(self) -> None:
        raise NotImplementedError


class Clock:
    def __init__(self) -> None:
        self.now: float = NOW

    def __call__(self) -> float:
        return self.now


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


class Document:
    """What a source fetches; an exception is raised."""

    def __init__(self, content: bytes | Exception) -> None:
        self.content = content
        self.fetched = 0
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def fetch(self) -> bytes:
        self.fetched += 1
        await self.may_answer.wait()
        if isinstance(self.content, Exception):
            raise self.content
        return self.content


def document_keys(document: Document, clock: Callable[[], float]) -> DocumentKeys:
    return DocumentKeys(
        document.fetch,
        parse_jwks,
        keys=None,
        refresh_seconds=300,
        rest_seconds=5,
        clock=clock,
    )


A: Final = jwks(jwk(RSA, "RS256", kid="a"))
B: Final = jwks(jwk(RSA_2, "RS256", kid="b"))


async def test_new_keys_are_read_on_demand_but_not_too_often() -> None:
    document, clock = Document(A), Clock()
    source = document_keys(document, clock)
    held = verifier(source)
    states = [source.state]
    assert await held.verify(signed(RSA, "RS256", header={"kid": "a"})) == ME
    states.append(source.state)
    assert states == ["missing", "ok"]
    document.content = B
    new = signed(RSA_2, "RS256", header={"kid": "b"})
    clock.now += 4.9
    for _ in range(10):
        assert isinstance(await held.verify(new), Refusal)
    assert document.fetched == 1
    clock.now += 0.1
    assert await held.verify(new) == ME
    assert document.fetched == 2


async def test_concurrent_callers_share_one_read_of_the_keys() -> None:
    document = Document(A)
    document.may_answer.clear()
    held = verifier(document_keys(document, Clock()))
    async with asyncio.TaskGroup() as tasks:
        asking = [
            tasks.create_task(held.verify(signed(RSA, "RS256", header={"kid": kid})))
            for kid in "aaab"
        ]
        await asyncio.sleep(0)
        document.may_answer.set()
    answers = [task.result() for task in asking]
    assert answers[:3] == [ME] * 3
    assert isinstance(answers[3], Refusal)
    assert document.fetched == 1


@pytest.mark.parametrize(
    "fault", [DocumentUnavailable("unavailable"), b"garbage", b'{"keys":[]}'], ids=str
)
async def test_old_keys_stay_in_use_while_new_ones_can_not_be_read(
    fault: bytes | Exception, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="gateway.auth.key_sources")
    document, clock = Document(A), Clock()
    source = document_keys(document, clock)
    await source.refresh()
    before = source.keys
    document.content = fault
    for _ in range(3):
        clock.now += 5
        await source.refresh()
    assert (source.state, source.keys) == ("degraded", before)
    document.content = A
    clock.now += 5
    await source.refresh()
    assert (source.state, source.keys) == ("ok", before)
    assert [record.message for record in caplog.records] == [
        "keys read",
        "keys could not be read",
        "keys can be read again",
    ]


async def test_a_cancelled_refresh_leaves_the_source_usable() -> None:
    document, clock = Document(A), Clock()
    document.may_answer.clear()
    source = document_keys(document, clock)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(source.refresh(), 0.001)
    document.may_answer.set()
    clock.now += 5
    await source.refresh()
    assert source.state == "ok"


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

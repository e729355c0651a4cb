"""Keys, tokens, verifiers and key sources for tests of authentication."""

import asyncio
import base64
import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
)

from gateway.auth.key_set import (
    KeySet,
    parse_jwks,
    parse_public_key,
    parse_secret,
)
from gateway.auth.key_sources import DocumentKeys, FixedKeys, KeySource
from gateway.auth.token_rules import Identity, TokenRules
from gateway.auth.token_verifier import TokenVerifier

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


GOOD: Final = signed()


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

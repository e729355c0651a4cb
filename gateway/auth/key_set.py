"""The keys that tokens may be signed with, and the algorithms that each of them verifies.

An algorithm is bound to the kind of its key (RFC 8725, section 3.1), so a public key never
is used as the secret of an HMAC.
"""

import json
from collections.abc import Collection
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, Literal, TypeAlias, get_args

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)

Algorithm: TypeAlias = Literal["HS256", "HS384", "HS512", "RS256", "ES256", "EdDSA"]
Material: TypeAlias = bytes | RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey

ALGORITHMS: Final[tuple[Algorithm, ...]] = get_args(Algorithm)
MIN_SECRET_BYTES: Final = 32  # RFC 7518, section 3.2, for HS256
MIN_RSA_BITS: Final = 2048  # RFC 7518, section 3.3
_HMAC: Final[tuple[Algorithm, ...]] = ("HS256", "HS384", "HS512")
_OF_JWK: Final[dict[tuple[Any, Any], tuple[Algorithm, ...]]] = {
    ("oct", None): _HMAC,
    ("RSA", None): ("RS256",),
    ("EC", "P-256"): ("ES256",),
    ("OKP", "Ed25519"): ("EdDSA",),
}


class InvalidKeys(ValueError):
    """There is no usable key. The message gives the reason, and contains no secret."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key, its ``kid`` in the header of tokens, and the algorithms that it verifies."""

    kid: str | None
    material: Material
    algorithms: tuple[Algorithm, ...]

    def thumbprint(self, algorithm: str) -> str:
        """Return a hash of key and algorithm, without the kid: the same in each process.

        It reveals no more of a secret than each token that was signed with it: secrets have at
        least 32 bytes, and are as hard to guess from a hash as from a signature.
        """
        match self.material:
            case bytes() as secret:
                material = secret
            case public:
                spki = PublicFormat.SubjectPublicKeyInfo
                material = public.public_bytes(Encoding.DER, spki)
        return sha256(b"neverstale key\0" + algorithm.encode() + b"\0" + material).hexdigest()


@dataclass(frozen=True, slots=True)
class KeySet:
    """At least one key; if there are several, each has a different kid.

    *unused* are the reasons for which other keys of the document were ignored.
    """

    keys: tuple[Key, ...]
    unused: tuple[str, ...] = ()

    def knows(self, kid: object) -> bool:
        """Return whether there is a key for a token whose header has this kid (or none)."""
        return bool(self._named(kid))

    def choose(self, kid: object, algorithm: object) -> Key | None:
        """Return the only key that may verify such a token, or None."""
        matching = [key for key in self._named(kid) if algorithm in key.algorithms]
        return matching[0] if len(matching) == 1 else None

    def _named(self, kid: object) -> list[Key]:
        return [key for key in self.keys if kid is None or key.kid is None or key.kid == kid]


def parse_secret(secret: str, allowed: Collection[str] = ALGORITHMS) -> KeySet:
    """Parse the secret of HMAC-signed tokens. Raises ``InvalidKeys``."""
    return KeySet((_key(None, secret.encode(), _HMAC, allowed),))


def parse_public_key(pem: str, allowed: Collection[str] = ALGORITHMS) -> KeySet:
    """Parse a public key in PEM; line ends may be written ``\\n``. Raises ``InvalidKeys``."""
    try:
        material = load_pem_public_key(pem.replace("\\n", "\n").encode())
    except (ValueError, UnsupportedAlgorithm):
        raise InvalidKeys("must be a public key in PEM (BEGIN PUBLIC KEY)") from None
    match material:
        case RSAPublicKey():
            return KeySet((_key(None, material, ("RS256",), allowed),))
        case EllipticCurvePublicKey() if isinstance(material.curve, SECP256R1):
            return KeySet((_key(None, material, ("ES256",), allowed),))
        case Ed25519PublicKey():
            return KeySet((_key(None, material, ("EdDSA",), allowed),))
        case _:
            raise InvalidKeys("must be an RSA, P-256 or Ed25519 key")


def parse_jwks(
    document: bytes, allowed: Collection[str] = ALGORITHMS, *, is_public: bool = False
) -> KeySet:
    """Parse a JWK set (RFC 7517). A *public* document must not contain secrets.

    Unusable keys are ignored (section 5). A kid that occurs twice invalidates the whole set: it
    would be ambiguous which key verifies a token.

    Raises:
        InvalidKeys: it is not a JWK set, or has no usable key.
    """
    try:
        parsed = json.loads(document)
    except (ValueError, RecursionError):
        raise InvalidKeys("is not JSON") from None
    if not isinstance(parsed, dict) or not isinstance(parsed.get("keys"), list):
        raise InvalidKeys('is not a JWK set: {"keys": [...]} is expected')
    keys: list[Key] = []
    unused: list[str] = []
    for number, jwk in enumerate(parsed["keys"], 1):
        try:
            keys.append(_parse_jwk(jwk, allowed, is_public=is_public))
        except InvalidKeys as exc:
            unused.append(f"key {number} {exc}")
    if not keys:
        raise InvalidKeys("; ".join(["has no usable key", *unused]))
    kids = {key.kid for key in keys}
    if len(kids) < len(keys) or (len(keys) > 1 and None in kids):
        raise InvalidKeys("has several keys: each needs a different kid")
    return KeySet(tuple(keys), tuple(unused))


def _parse_jwk(jwk: Any, allowed: Collection[str], *, is_public: bool) -> Key:
    if not isinstance(jwk, dict):
        raise InvalidKeys("is not an object")
    kid, kty, curve = jwk.get("kid"), jwk.get("kty"), jwk.get("crv")
    if not isinstance(kid, str | None):
        raise InvalidKeys("has a kid that is not a string")
    algorithms = _OF_JWK.get((str(kty), curve if curve is None else str(curve)))
    if algorithms is None:
        raise InvalidKeys("has an unsupported kty or crv")
    uses = jwk.get("key_ops", ["verify"])
    if jwk.get("use", "sig") != "sig" or not isinstance(uses, list) or "verify" not in uses:
        raise InvalidKeys("is not for verifying signatures")
    if "alg" in jwk:
        algorithms = tuple(name for name in algorithms if name == jwk["alg"])
    if not algorithms:
        raise InvalidKeys("has an unsupported alg")
    if kty == "oct" and is_public:
        raise InvalidKeys("is a secret, which must not be published")
    try:
        material = jwt.PyJWK(jwk, algorithms[0]).key
    except (jwt.PyJWTError, LookupError, TypeError, ValueError):
        raise InvalidKeys("is malformed") from None
    return _key(kid, material, algorithms, allowed)


def _key(
    kid: str | None,
    material: Any,
    algorithms: tuple[Algorithm, ...],
    allowed: Collection[str],
) -> Key:
    match material:
        case bytes():
            _check_secret(material)
        case RSAPublicKey():
            if material.key_size < MIN_RSA_BITS:
                raise InvalidKeys(f"must have at least {MIN_RSA_BITS} bits")
        case EllipticCurvePublicKey() | Ed25519PublicKey():
            pass
        case _:
            raise InvalidKeys("is a private key: give the public one")
    algorithms = tuple(name for name in algorithms if name in allowed)
    if not algorithms:
        raise InvalidKeys("supports none of the allowed algorithms")
    return Key(kid, material, algorithms)


def _check_secret(secret: bytes) -> None:
    if len(secret) < MIN_SECRET_BYTES:
        raise InvalidKeys(f"must have at least {MIN_SECRET_BYTES} bytes")
    try:
        jwt.get_algorithm_by_name("HS256").prepare_key(secret)
    except jwt.InvalidKeyError:
        raise InvalidKeys("must be a secret, not a key or certificate") from None

"""Verify tokens (JWT, RFC 7519, and its best current practices, RFC 8725)."""

import json
import time
from base64 import urlsafe_b64decode
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from typing import Any, Final

import jwt

from gateway.auth.key_set import ALGORITHMS, Key, KeySet
from gateway.auth.key_sources import KeySource
from gateway.auth.token_rules import Identity, TokenRules
from shared.protocol.close_codes import TOKEN_EXPIRED, Refusal, unauthorized, unavailable

MAX_TOKEN_BYTES: Final = 8192
MAX_CACHED: Final = 16_384
_NOT_VALID: Final = unauthorized("the token is not valid")
_UNKNOWN_KEY: Final = unauthorized("the token is signed with an unknown key or algorithm")
KEY_WITHDRAWN: Final = unauthorized(
    "the key that signed the token was withdrawn: connect again with a new token"
)
_NO_KEYS: Final = unavailable("the keys that verify tokens can't be read now: try again")


class TokenVerifier:
    """Verifies tokens, and caches their identities until they expire or the keys change.

    The cache is keyed by digest, so that it contains no usable token.
    """

    def __init__(
        self,
        source: KeySource,
        rules: TokenRules,
        *,
        now: Callable[[], float] = time.time,  # noqa: TID251 exp is a time of day (RFC 7519)
        max_cached: int = MAX_CACHED,
    ) -> None:
        self._source = source
        self._rules = rules
        self.now = now
        self._max_cached = max_cached
        self._signatures = jwt.PyJWS(ALGORITHMS)
        self._cached: OrderedDict[bytes, Identity] = OrderedDict()
        self._keys: KeySet | None = None  # that verified the cached tokens
        self._current: frozenset[str] = frozenset()  # ``verified_by`` of those keys
        self._key_changes = 0

    @property
    def leeway_seconds(self) -> int:
        return self._rules.leeway_seconds

    @property
    def key_changes(self) -> int:
        """How often the keys have changed. As long as it is the same, none is withdrawn."""
        self._notice_new_keys()
        return self._key_changes

    def seconds_left(self, identity: Identity) -> float:
        """Return the seconds until the token ends; negative once it has."""
        return identity.expires_at - self.now()

    def has_expired(self, identity: Identity) -> bool:
        return self._rules.has_expired(identity, self.now())

    def is_withdrawn(self, identity: Identity) -> bool:
        """Return whether the key that verified the identity has been removed.

        While the keys can't be read, none is withdrawn: the last ones stay in use.
        """
        self._notice_new_keys()
        return self._keys is not None and identity.verified_by not in self._current

    async def confirm(self, identity: Identity) -> Identity | Refusal:
        """Return an identity that was verified earlier, perhaps by another gateway, if it is
        still valid; otherwise the reason why not.
        """
        if self.has_expired(identity):
            return TOKEN_EXPIRED
        if self._source.keys is None or self.is_withdrawn(identity):
            await self._source.refresh()  # another gateway may have read a newer key
        if self._source.keys is None:
            return _NO_KEYS
        if not self.is_withdrawn(identity):
            return identity
        return _NO_KEYS if self._source.state == "degraded" else KEY_WITHDRAWN

    async def verify(self, token: str) -> Identity | Refusal:
        """Return the token's identity, or the reason to refuse it, which quotes none of it.

        Waits only for the keys to be read again, if the token names an unknown one.
        """
        if len(token) > MAX_TOKEN_BYTES:
            return unauthorized("the token is too long")
        if not token.isascii():
            return _NOT_VALID
        digest = sha256(token.encode()).digest()
        cached = self._find_cached(digest)
        if cached is not None:
            return cached
        header = _read_header(token)
        if header is None:
            return _NOT_VALID
        key = await self._find_key(header.get("kid"), header.get("alg"))
        if isinstance(key, Refusal):
            return key
        try:
            payload = self._signatures.decode(token, key.material, key.algorithms)
            claims = json.loads(payload)
        except (jwt.PyJWTError, ValueError, RecursionError):
            return _NOT_VALID
        if not isinstance(claims, dict):
            return _NOT_VALID
        identity = self._rules.check(claims, self.now())
        if isinstance(identity, Identity):
            verified_by = self._rules.hash_with(key.thumbprint(header["alg"]))
            identity = replace(identity, verified_by=verified_by)
            self._cache(digest, identity)
        return identity

    async def _find_key(self, kid: Any, algorithm: Any) -> Key | Refusal:
        if self._source.keys is None or not self._source.keys.knows(kid):
            await self._source.refresh()
        keys = self._source.keys
        if keys is None or (not keys.knows(kid) and self._source.state == "degraded"):
            return _NO_KEYS
        return keys.choose(kid, algorithm) or _UNKNOWN_KEY

    def _notice_new_keys(self) -> None:
        """Drop the cache when the keys have changed."""
        keys = self._source.keys
        if self._keys is not keys:
            self._cached.clear()
            self._keys = keys
            self._key_changes += 1
            self._current = frozenset(
                self._rules.hash_with(key.thumbprint(algorithm))
                for key in (keys.keys if keys else ())
                for algorithm in key.algorithms
            )

    def _find_cached(self, digest: bytes) -> Identity | Refusal | None:
        self._notice_new_keys()
        identity = self._cached.get(digest)
        if identity is None:
            return None
        if self._rules.has_expired(identity, self.now()):
            del self._cached[digest]
            return TOKEN_EXPIRED
        self._cached.move_to_end(digest)
        return identity

    def _cache(self, digest: bytes, identity: Identity) -> None:
        self._notice_new_keys()  # they may have been read again while the token waited
        self._cached[digest] = identity
        if len(self._cached) > self._max_cached:
            self._cached.popitem(last=False)


def _read_header(token: str) -> dict[str, Any] | None:
    """Return the header of a token, whose form is not checked yet, or None if it has none.

    It only serves to choose a key. PyJWT parses the whole token strictly when it verifies it,
    which takes 50 us for each time.
    """
    start, _, _ = token.partition(".")
    try:
        header = json.loads(urlsafe_b64decode(start + "=" * (-len(start) % 4)))
    except (ValueError, RecursionError):
        return None
    is_valid = isinstance(header, dict) and isinstance(header.get("kid", ""), str)
    return header if is_valid else None

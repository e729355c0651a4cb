"""Verifies tokens (JWT, RFC 7519; RFC 8725 for what to beware of)."""

import json
import time
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
MAX_REMEMBERED: Final = 16_384
_NOT_VALID: Final = unauthorized("the token is not valid")
_UNKNOWN_KEY: Final = unauthorized("the token is signed with an unknown key or algorithm")
KEY_WITHDRAWN: Final = unauthorized(
    "the key that signed the token was withdrawn: come back with a new token"
)
_NO_KEYS: Final = unavailable("the keys that tokens are verified with are away: come back")


class TokenVerifier:
    """Says whom a token stands for, and remembers it until the token expires or a key changes.

    By digest: nobody finds a token in our memory.
    """

    def __init__(
        self,
        source: KeySource,
        rules: TokenRules,
        *,
        now: Callable[[], float] = time.time,  # noqa: TID251 exp is a time of day (RFC 7519)
        max_remembered: int = MAX_REMEMBERED,
    ) -> None:
        self._source = source
        self._rules = rules
        self._now = now
        self._max_remembered = max_remembered
        self._signatures = jwt.PyJWS(ALGORITHMS)
        self._remembered: OrderedDict[bytes, Identity] = OrderedDict()
        self._keys: KeySet | None = None  # that verified them
        self._admitting: frozenset[str] = frozenset()  # what those keys name

    @property
    def leeway_seconds(self) -> int:
        return self._rules.leeway_seconds

    def seconds_left(self, identity: Identity) -> float:
        """Until the token ends; below zero it has."""
        return identity.expires_at - self._now()

    def has_expired(self, identity: Identity) -> bool:
        return self._rules.has_expired(identity, self._now())

    def is_withdrawn(self, identity: Identity) -> bool:
        """Whether the key that admitted it is none of ours any more.

        Keys that could not be read withdraw nothing: those held count on.
        """
        self._look_at_keys()
        return self._keys is not None and identity.admitted_by not in self._admitting

    async def confirm(self, identity: Identity) -> Identity | Refusal:
        """The identity, verified a while ago and maybe elsewhere, if it would be even now."""
        if self.has_expired(identity):
            return TOKEN_EXPIRED
        if self._source.keys is None or self.is_withdrawn(identity):
            await self._source.refresh()  # another gateway may know a newer key
        if self._source.keys is None:
            return _NO_KEYS
        if not self.is_withdrawn(identity):
            return identity
        return _NO_KEYS if self._source.state == "degraded" else KEY_WITHDRAWN

    async def verify(self, token: str) -> Identity | Refusal:
        """Whom the token stands for, or why it is refused (never repeating any of it).

        Waits only where a token names an unknown key, while the keys are read again.
        """
        if len(token) > MAX_TOKEN_BYTES:
            return unauthorized("the token is too long")
        if not token.isascii():
            return _NOT_VALID
        digest = sha256(token.encode()).digest()
        remembered = self._recall(digest)
        if remembered is not None:
            return remembered
        try:
            header = self._signatures.get_unverified_header(token)
        except jwt.PyJWTError:
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
        identity = self._rules.judge(claims, self._now())
        if isinstance(identity, Identity):
            name = self._rules.name_with(key.thumbprint(header["alg"]))
            identity = replace(identity, admitted_by=name)
            self._remember(digest, identity)
        return identity

    async def _find_key(self, kid: Any, algorithm: Any) -> Key | Refusal:
        if self._source.keys is None or not self._source.keys.knows(kid):
            await self._source.refresh()
        keys = self._source.keys
        if keys is None or (not keys.knows(kid) and self._source.state == "degraded"):
            return _NO_KEYS
        return keys.choose(kid, algorithm) or _UNKNOWN_KEY

    def _look_at_keys(self) -> None:
        """Other keys than before remember nothing, and admit by other names."""
        keys = self._source.keys
        if self._keys is not keys:
            self._remembered.clear()
            self._keys = keys
            self._admitting = frozenset(
                self._rules.name_with(key.thumbprint(algorithm))
                for key in (keys.keys if keys else ())
                for algorithm in key.algorithms
            )

    def _recall(self, digest: bytes) -> Identity | Refusal | None:
        self._look_at_keys()
        identity = self._remembered.get(digest)
        if identity is None:
            return None
        if self._rules.has_expired(identity, self._now()):
            del self._remembered[digest]
            return TOKEN_EXPIRED
        self._remembered.move_to_end(digest)
        return identity

    def _remember(self, digest: bytes, identity: Identity) -> None:
        self._recall(digest)  # the keys may have been read again while their owner waited
        self._remembered[digest] = identity
        if len(self._remembered) > self._max_remembered:
            self._remembered.popitem(last=False)

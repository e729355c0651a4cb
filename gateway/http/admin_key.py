"""The operator's key, by which the admin API and the status are used."""

import time
from collections.abc import Callable
from hmac import compare_digest, digest
from typing import Final

import jwt
from aiohttp import web

from gateway.limits.connection_limiter import ConnectionLimiter
from gateway.limits.rates import Rate, TokenBuckets
from shared.protocol.close_codes import Refusal, rate_limited, unauthorized

SESSION_SECONDS: Final = 8 * 3600
SESSION_COOKIE: Final = "neverstale_status"
# Of logins from all unknown addresses together. Known ones are limited one by one.
UNKNOWN_RATE: Final = Rate(per_second=0.5, burst=30)
_AUDIENCE: Final = "neverstale status"
_ALGORITHM: Final = "HS256"
_NO_KEY: Final = unauthorized("Authorization: Bearer <ADMIN_KEY> is required")
_TOO_MANY: Final = rate_limited("too many wrong keys: wait", 10)


class AdminKey:
    """Compares keys in constant time, limits guesses, and issues sessions.

    A session is a signed expiry, which no gateway has to remember and which any gateway with
    the same key accepts. It does not contain the key, nor is it signed with the key itself.
    """

    def __init__(
        self,
        key: str,
        limiter: ConnectionLimiter,
        *,
        clock: Callable[[], float],
        now: Callable[[], float] = time.time,  # noqa: TID251 a session ends at a time of day
    ) -> None:
        self._key = key.encode()
        self._session_key = digest(self._key, _AUDIENCE.encode(), "sha256")
        self._limiter = limiter
        self._clock = clock
        self._now = now
        self._unknown: TokenBuckets[None] = TokenBuckets(UNKNOWN_RATE)

    def refuse_request(self, request: web.Request) -> Refusal | None:
        """Return why a request is refused that must have the key in ``Authorization``.

        Guesses from unknown addresses are not limited here: whoever makes them would shut the
        operator out.
        """
        given = request.headers.getall("Authorization", ())
        scheme, _, key = (given[0] if len(given) == 1 else "").partition(" ")
        return self._refuse(key.strip() if scheme.lower() == "bearer" else "", request)

    def refuse_login(self, key: str, request: web.Request) -> Refusal | None:
        """Return why the *key* in the login form is refused."""
        is_unknown = self._limiter.address_of(request) is None
        if is_unknown and self._unknown.wait_seconds(None, self._clock()):
            return _TOO_MANY
        refusal = self._refuse(key, request)
        if is_unknown and refusal is not None:
            self._unknown.take(None, self._clock())
        return refusal

    def _refuse(self, key: str, request: web.Request) -> Refusal | None:
        address = self._limiter.address_of(request)
        refusal = self._limiter.refuse_guessing(address)
        if refusal is not None:
            return refusal
        # compare_digest reveals the key's length by its time, and nothing else
        if compare_digest(key.encode(errors="surrogateescape"), self._key):
            return None
        self._limiter.count_failure(address)
        return _NO_KEY

    def make_session(self) -> str:
        """Return a session that lasts for ``SESSION_SECONDS``."""
        claims = {"aud": _AUDIENCE, "exp": int(self._now()) + SESSION_SECONDS}
        return jwt.encode(claims, self._session_key, algorithm=_ALGORITHM)

    def has_session(self, request: web.Request) -> bool:
        """Return whether the request has a session that has not ended."""
        try:
            claims = jwt.decode(
                request.cookies.get(SESSION_COOKIE, ""),
                self._session_key,
                algorithms=[_ALGORITHM],
                audience=_AUDIENCE,
                options={"require": ["exp", "aud"], "verify_exp": False},
            )
        except jwt.PyJWTError:
            return False
        return float(claims["exp"]) > self._now()

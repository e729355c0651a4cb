"""Refusals: close codes, and the HTTP status of the same refusal before the upgrade (wire.md,
section 4).
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final


class CloseCode(IntEnum):
    UNSUPPORTED_DATA = 1003
    DRAINING = 1012
    UNAVAILABLE = 1013
    BAD_REQUEST = 4400
    UNAUTHORIZED = 4401
    FORBIDDEN = 4403
    TOO_SLOW = 4408
    TOO_MANY = 4429


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a connection is refused or closed.

    Before the upgrade a plain client gets the status; a v1 client gets the close code.
    """

    status: int
    close: CloseCode
    code: str
    message: str
    retry_after_seconds: int | None = None


def bad_request(message: str) -> Refusal:
    return Refusal(400, CloseCode.BAD_REQUEST, "bad_request", message)


def unauthorized(message: str) -> Refusal:
    return Refusal(401, CloseCode.UNAUTHORIZED, "unauthorized", message)


def unavailable(message: str) -> Refusal:
    return Refusal(503, CloseCode.UNAVAILABLE, "unavailable", message)


def rate_limited(message: str, retry_after_seconds: int | None = None) -> Refusal:
    return Refusal(429, CloseCode.TOO_MANY, "rate_limited", message, retry_after_seconds)


def too_many_connections(message: str) -> Refusal:
    return Refusal(429, CloseCode.TOO_MANY, "too_many_connections", message)


TOKEN_EXPIRED: Final = Refusal(
    401,
    CloseCode.UNAUTHORIZED,
    "token_expired",
    "the token has expired: come back with a new one",
)
FORBIDDEN: Final = Refusal(
    403, CloseCode.FORBIDDEN, "forbidden", "no such project, or it is not yours to see"
)

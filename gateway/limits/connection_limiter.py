"""Limits on open sockets, on failed authentications and on tickets."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from gateway.limits.client_address import Network, find_client
from gateway.limits.rates import Rate, TokenBuckets
from gateway.limits.slot_counter import SlotCounter
from shared.http.connection_limits import peer_of
from shared.http.upgrades import RequestHead
from shared.protocol.close_codes import Refusal, rate_limited, too_many_connections

FAILURE_WINDOW_SECONDS: Final = 60.0
TICKET_RATE: Final = Rate(per_second=5, burst=100)
_FULL: Final = too_many_connections("the gateway has reached its maximum of open sockets")
_FULL_ADDRESS: Final = too_many_connections("too many sockets from this address")
_FULL_USER: Final = too_many_connections("too many sockets of this user: close one first")


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Maximum numbers of open sockets, and of failures per minute; 0: unlimited."""

    max_sockets: int
    max_per_address: int
    max_per_user: int
    max_failures: int


class ConnectionSlot:
    """Counts one socket, from the arrival of its request until ``release``.

    *refusal* is the reason if there is no slot left, and nothing is counted.
    """

    __slots__ = ("_limiter", "address", "refusal", "user_id")

    def __init__(self, limiter: "ConnectionLimiter", address: str | None) -> None:
        self._limiter = limiter
        self.address = address
        self.user_id: str | None = None
        self.refusal = limiter.take(address)

    def assign_user(self, user_id: str) -> Refusal | None:
        """Count the slot for the user too, or return the reason to refuse it."""
        if not self._limiter.users.take(user_id):
            return _FULL_USER
        self.user_id = user_id
        return None

    def release(self) -> None:
        """Count it no longer. To be called once."""
        if self.refusal is None:
            self._limiter.free(self.address)
        if self.user_id is not None:
            self._limiter.users.free(self.user_id)


class ConnectionLimiter:
    """Counts sockets and rates by address, by user and in total."""

    def __init__(
        self,
        limits: ConnectionLimits,
        trusted: Sequence[Network],
        address_header: str,
        clock: Callable[[], float],
    ) -> None:
        self._trusted = trusted
        self._address_header = address_header
        self._clock = clock
        self._all: SlotCounter[None] = SlotCounter(limits.max_sockets)
        self._addresses: SlotCounter[str] = SlotCounter(limits.max_per_address)
        self.users: SlotCounter[str] = SlotCounter(limits.max_per_user)
        per_second = limits.max_failures / FAILURE_WINDOW_SECONDS
        self._failures: TokenBuckets[str] = TokenBuckets(Rate(per_second, limits.max_failures))
        self._tickets: TokenBuckets[str] = TokenBuckets(TICKET_RATE)

    def address_of_peer(self, peer: str | None) -> str | None:
        """Return the address to count a TCP connection for, before its first request.

        None: it may be a proxy's, and is not counted.
        """
        return find_client(peer, (), self._trusted)

    def address_of(self, request: RequestHead) -> str | None:
        """Return the client's address; None: it is unknown, and nothing is counted."""
        forwarded = request.headers.getall(self._address_header, ())
        return find_client(peer_of(request.transport), forwarded, self._trusted)

    def take(self, address: str | None) -> Refusal | None:
        """Occupy a slot of an address, or return the reason if there is none left."""
        if not self._all.take(None):
            return _FULL
        if address is not None and not self._addresses.take(address):
            self._all.free(None)
            return _FULL_ADDRESS
        return None

    def free(self, address: str | None) -> None:
        """Free what ``take`` has occupied."""
        self._all.free(None)
        if address is not None:
            self._addresses.free(address)

    def refuse_guessing(self, address: str | None) -> Refusal | None:
        """Return the reason not to verify a token from this address now, if there is one."""
        if address is None:
            return None
        seconds = self._failures.wait_seconds(address, self._clock())
        return _refuse_rate("too many bad tokens from this address", seconds)

    def count_failure(self, address: str | None) -> None:
        """Count a credential that was never valid; an expired token is not one."""
        if address is not None:
            self._failures.take(address, self._clock())

    def count_ticket(self, user_id: str) -> Refusal | None:
        """Count a ticket for the user, or return the reason to refuse it."""
        now = self._clock()
        seconds = self._tickets.wait_seconds(user_id, now)
        if not seconds:
            self._tickets.take(user_id, now)
        return _refuse_rate("too many tickets for this user", seconds)


def _refuse_rate(message: str, seconds: float) -> Refusal | None:
    return rate_limited(f"{message}: wait", math.ceil(seconds)) if seconds else None

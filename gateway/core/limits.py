"""How much one client, user or address may take: counts and rates, with the time given."""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)

MAX_BUCKETS: Final = 65_536


@dataclass(frozen=True, slots=True)
class Rate:
    """So many a second for ever, and *burst* at once; none a second: no limit."""

    per_second: float
    burst: float


@dataclass(frozen=True, slots=True)
class SocketLimits:
    """What one socket may do."""

    max_message_bytes: int
    max_projects: int  # 0: any number
    rate: Rate


class Bucket:
    """What is left of one client's rate (a token bucket)."""

    __slots__ = ("_at", "_left", "_rate")

    def __init__(self, rate: Rate, now: float) -> None:
        self._rate = rate
        self._left = rate.burst
        self._at = now

    def refill(self, now: float) -> float:
        """How much is left by now; below zero is debt."""
        earned = max(0.0, now - self._at) * self._rate.per_second
        self._left = min(self._rate.burst, self._left + earned)
        self._at = now
        return self._left

    def take(self, amount: int, now: float) -> float:
        """How much is left without this *amount*."""
        self._left = self.refill(now) - amount
        return self._left


class Buckets(Generic[Key]):
    """A bucket for each key that took something lately.

    Bounded: of too many the one that was used longest ago is forgotten, which favours its
    owner.
    """

    def __init__(self, rate: Rate, *, max_buckets: int = MAX_BUCKETS) -> None:
        self._rate = rate
        self._max_buckets = max_buckets
        self._buckets: OrderedDict[Key, Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def wait_seconds(self, key: Key, now: float) -> float:
        """How long until *key* may take one; 0: now."""
        bucket = self._buckets.get(key)
        if bucket is None:
            return 0.0
        left = bucket.refill(now)
        if left >= self._rate.burst:
            del self._buckets[key]  # it says no more than none would
        return max(0.0, (1 - left) / self._rate.per_second)

    def take(self, key: Key, now: float) -> None:
        if not self._rate.per_second:
            return
        bucket = self._buckets.setdefault(key, Bucket(self._rate, now))
        bucket.take(1, now)
        self._buckets.move_to_end(key)
        if len(self._buckets) > self._max_buckets:
            self._buckets.popitem(last=False)


class Seats(Generic[Key]):
    """How many each key holds; at most *maximum*, 0: any number."""

    def __init__(self, maximum: int) -> None:
        self._maximum = maximum
        self._held: dict[Key, int] = {}

    def __len__(self) -> int:
        return len(self._held)

    def take(self, key: Key) -> bool:
        """Whether there was one left for it."""
        held = self._held.get(key, 0)
        if self._maximum and held >= self._maximum:
            return False
        self._held[key] = held + 1
        return True

    def free(self, key: Key) -> None:
        self._held[key] -= 1
        if not self._held[key]:
            del self._held[key]


class Pace(Enum):
    FINE = auto()
    TOO_FAST = auto()  # to be said once
    FLOOD = auto()


class Pacer:
    """Whether a socket's client sends too much.

    Over its burst it is told so; what goes on until it owes another burst is a flood.
    """

    __slots__ = ("_bucket", "_burst", "_was_told")

    def __init__(self, rate: Rate, now: float) -> None:
        self._bucket = Bucket(rate, now) if rate.per_second else None
        self._burst = rate.burst
        self._was_told = False

    def judge(self, amount: int, now: float) -> Pace:
        """How the client stands after *amount* more."""
        if self._bucket is None:
            return Pace.FINE
        left = self._bucket.take(amount, now)
        if left < -self._burst:
            return Pace.FLOOD
        if left < 0 and not self._was_told:
            self._was_told = True
            return Pace.TOO_FAST
        if left >= self._burst / 2:
            self._was_told = False
        return Pace.FINE

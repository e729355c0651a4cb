"""How much one client, user or address may take: counts and rates, with the time given."""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)

MAX_BUCKETS: Final = 65_536
BURST_SECONDS: Final = 10
PATIENCE_SECONDS: Final = 5.0  # a client that waits for its pong gives up after 10 s
# what following a message costs beside reading its frame, in frames
SUBSCRIBE_COST: Final = 5
AUTH_COST: Final = 10
BYTES_PER_COST: Final = 4096
ROWS_PER_MESSAGE: Final = 10
ROWS_PER_PROJECT: Final = 100
MANY_PROJECTS: Final = 1000


@dataclass(frozen=True, slots=True)
class Rate:
    """So many a second for ever, and *burst* at once; none a second: no limit."""

    per_second: float
    burst: float


@dataclass(frozen=True, slots=True)
class SocketLimits:
    """What one socket may do. ``rate`` is in the cost of the cheapest message, ``replay_rate``
    in rows of channel logs.
    """

    max_message_bytes: int
    max_projects: int  # 0: any number
    rate: Rate
    replay_rate: Rate = Rate(0, 0)

    @classmethod
    def plan(
        cls, max_message_bytes: int, max_projects: int, messages_per_second: float
    ) -> "SocketLimits":
        """Limits by which a page may come back with all its projects at once, each with many
        rows to replay.
        """
        projects = max_projects or MANY_PROJECTS
        rows_per_second = messages_per_second * ROWS_PER_MESSAGE
        burst = messages_per_second * BURST_SECONDS + projects * SUBSCRIBE_COST
        return cls(
            max_message_bytes,
            max_projects,
            Rate(messages_per_second, burst),
            Rate(rows_per_second, projects * ROWS_PER_PROJECT),
        )


class TokenBucket:
    """What is left of one client's rate (a token bucket)."""

    __slots__ = ("__weakref__", "_at", "_left", "_rate")

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

    def take(self, amount: float, now: float) -> float:
        """How much is left without this *amount*."""
        self._left = self.refill(now) - amount
        return self._left

    def wait_seconds(self, now: float) -> float:
        """Until nothing is owed any more."""
        left = self.refill(now)
        return -left / self._rate.per_second if left < 0 else 0.0


class TokenBuckets(Generic[Key]):
    """A bucket for each key that took something lately.

    Bounded: of too many the one that was used longest ago is forgotten, which favours its
    owner.
    """

    def __init__(self, rate: Rate, *, max_buckets: int = MAX_BUCKETS) -> None:
        self._rate = rate
        self._max_buckets = max_buckets
        self._buckets: OrderedDict[Key, TokenBucket] = OrderedDict()

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
        bucket = self._buckets.setdefault(key, TokenBucket(self._rate, now))
        bucket.take(1, now)
        self._buckets.move_to_end(key)
        if len(self._buckets) > self._max_buckets:
            self._buckets.popitem(last=False)


class SlotCounter(Generic[Key]):
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


class RateVerdict(Enum):
    FINE = auto()
    TOO_FAST = auto()  # to be said once
    FLOOD = auto()


class RateLimiter:
    """Whether a socket's client asks for too much.

    Over its burst it is told so, and not read until it owes nothing any more. If that would
    take over ``PATIENCE_SECONDS`` for the frames that it has sent, it is a flood. *replayed* is
    the budget of rows that are replayed, which all sockets of a user may share.
    """

    __slots__ = ("_bucket", "_limits", "_replayed", "_was_told")

    def __init__(
        self, limits: SocketLimits, now: float, replayed: TokenBucket | None = None
    ) -> None:
        self._limits = limits
        self._bucket = TokenBucket(limits.rate, now)
        self._replayed = replayed or TokenBucket(limits.replay_rate, now)
        self._was_told = False

    def judge(self, frames: int, now: float) -> RateVerdict:
        """How the client stands after so many more frames."""
        rate = self._limits.rate
        if not rate.per_second:
            return RateVerdict.FINE
        left = self._bucket.take(frames, now)
        if frames and left < -rate.per_second * PATIENCE_SECONDS:
            return RateVerdict.FLOOD
        if self.wait_seconds(now) and not self._was_told:
            self._was_told = True
            return RateVerdict.TOO_FAST
        if left >= rate.burst / 2:
            self._was_told = False
        return RateVerdict.FINE

    def charge(self, cost: int, now: float) -> None:
        """What it asked for costs so much beside its frames."""
        self._bucket.take(cost, now)

    def charge_replay(self, rows: int, now: float) -> None:
        """So many rows were replayed to it.

        One place that it named may bring many, so it never owes more than it can pay within
        ``PATIENCE_SECONDS``.
        """
        most = self._limits.replay_rate.per_second * PATIENCE_SECONDS
        self._replayed.take(min(rows, self._replayed.refill(now) + most), now)

    def wait_seconds(self, now: float) -> float:
        """How long it is not read now; 0: it owes nothing."""
        if not self._limits.rate.per_second:
            return 0.0
        return max(self._bucket.wait_seconds(now), self._replayed.wait_seconds(now))

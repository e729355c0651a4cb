"""Token buckets that limit the rates of clients, users and addresses. Time is an argument."""

import math
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)

MAX_BUCKETS: Final = 65_536
BURST_SECONDS: Final = 10
PATIENCE_SECONDS: Final = 5.0  # a client gives up on a pong after 10 s
# the cost of processing a message, beside reading its frame, in frames
SUBSCRIBE_COST: Final = 5
AUTH_COST: Final = 10
BYTES_PER_COST: Final = 4096
ROWS_PER_MESSAGE: Final = 10
ROWS_PER_PROJECT: Final = 100
MANY_PROJECTS: Final = 1000


@dataclass(frozen=True, slots=True)
class Rate:
    """A sustained rate, and a *burst* on top; ``per_second=0``: unlimited."""

    per_second: float
    burst: float


@dataclass(frozen=True, slots=True)
class SocketLimits:
    """Limits of one socket. ``rate`` counts messages, at the cost of the cheapest;
    ``replay_rate`` counts rows of channel logs.
    """

    max_message_bytes: int
    max_projects: int  # 0: unlimited
    rate: Rate
    replay_rate: Rate = Rate(0, 0)

    @classmethod
    def plan(
        cls, max_message_bytes: int, max_projects: int, messages_per_second: float
    ) -> "SocketLimits":
        """Return limits that allow a page to resume all its projects at once, each with many
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
    """A token bucket that may go into debt."""

    __slots__ = ("_at", "_left", "_rate")

    def __init__(self, rate: Rate, now: float) -> None:
        self._rate = rate
        self._left = rate.burst
        self._at = now

    def refill(self, now: float) -> float:
        """Return how much is left; below zero is debt."""
        refilled = max(0.0, now - self._at) * self._rate.per_second
        self._left = min(self._rate.burst, self._left + refilled)
        self._at = now
        return self._left

    def take(self, amount: float, now: float) -> float:
        """Take *amount*, and return how much is left."""
        self._left = self.refill(now) - amount
        return self._left

    def wait_seconds(self, now: float) -> float:
        """Return the seconds until the debt is paid."""
        left = self.refill(now)
        return -left / self._rate.per_second if left < 0 else 0.0


class TokenBuckets(Generic[Key]):
    """A token bucket for each key that was used recently.

    At most *max_buckets*: the least recently used is dropped, which gives its key a full one.
    """

    def __init__(self, rate: Rate, *, max_buckets: int = MAX_BUCKETS) -> None:
        self._rate = rate
        self._max_buckets = max_buckets
        self._buckets: OrderedDict[Key, TokenBucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def wait_seconds(self, key: Key, now: float) -> float:
        """Return the seconds until *key* may take one; 0: now."""
        bucket = self._buckets.get(key)
        if bucket is None:
            return 0.0
        left = bucket.refill(now)
        if left >= self._rate.burst:
            del self._buckets[key]  # a full bucket is the same as none
        return max(0.0, (1 - left) / self._rate.per_second)

    def debt_seconds(self, key: Key, now: float) -> float:
        """Return the seconds until the debt of *key* is paid."""
        bucket = self._buckets.get(key)
        if bucket is None:
            return 0.0
        if bucket.refill(now) >= self._rate.burst:
            del self._buckets[key]
        return bucket.wait_seconds(now)

    def take(
        self, key: Key, now: float, amount: float = 1, *, max_debt: float = math.inf
    ) -> None:
        """Take *amount*, but no more than leaves a debt of *max_debt*."""
        if not self._rate.per_second:
            return
        bucket = self._buckets.setdefault(key, TokenBucket(self._rate, now))
        bucket.take(min(amount, bucket.refill(now) + max_debt), now)
        self._buckets.move_to_end(key)
        if len(self._buckets) > self._max_buckets:
            self._buckets.popitem(last=False)


class RateVerdict(Enum):
    FINE = auto()
    TOO_FAST = auto()  # reported once
    FLOOD = auto()


class RateLimiter(TokenBucket):
    """Limits the messages of one socket's client.

    A client that exceeds its burst gets an error, and is not read until its debt is paid. If
    its frames would take over ``PATIENCE_SECONDS`` to pay, it is a flood. *replays* are the
    budgets of replayed rows, which all sockets of a user share.
    """

    __slots__ = ("_is_reported", "_limits", "_replays", "_user_id")

    def __init__(
        self, limits: SocketLimits, now: float, user_id: str, replays: TokenBuckets[str]
    ) -> None:
        super().__init__(limits.rate, now)
        self._limits = limits
        self._user_id = user_id
        self._replays = replays
        self._is_reported = False

    def judge(self, frames: int, now: float) -> RateVerdict:
        """Charge for *frames*, and return how the client stands."""
        rate = self._limits.rate
        if not rate.per_second:
            return RateVerdict.FINE
        left = self.take(frames, now)
        if frames and left < -rate.per_second * PATIENCE_SECONDS:
            return RateVerdict.FLOOD
        if self.wait_seconds(now) and not self._is_reported:
            self._is_reported = True
            return RateVerdict.TOO_FAST
        if left >= rate.burst / 2:
            self._is_reported = False
        return RateVerdict.FINE

    def charge(self, cost: int, now: float) -> None:
        """Charge for processing a message."""
        self.take(cost, now)

    def charge_replay(self, rows: int, now: float) -> None:
        """Charge for replayed rows.

        One cursor may cause many of them, so the debt never exceeds what is paid within
        ``PATIENCE_SECONDS``.
        """
        most = self._limits.replay_rate.per_second * PATIENCE_SECONDS
        self._replays.take(self._user_id, now, rows, max_debt=most)

    def wait_seconds(self, now: float) -> float:
        """Return the seconds for which the client is not read; 0: it has no debt."""
        if not self._limits.rate.per_second:
            return 0.0
        return max(super().wait_seconds(now), self._replays.debt_seconds(self._user_id, now))

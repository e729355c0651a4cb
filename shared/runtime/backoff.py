"""Delays between retries."""

import random
from dataclasses import dataclass, field


@dataclass(slots=True)
class Backoff:
    """Exponential backoff with full jitter, in seconds.

    Source: Brooker, "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015): full
    jitter.
    """

    base: float = 0.1
    cap: float = 5.0
    rng: random.Random = field(default_factory=random.Random)
    _tries: int = 0

    def next_delay(self) -> float:
        """Return a random delay below a bound that doubles with each call, up to the cap."""
        bound = min(self.cap, self.base * 2**self._tries)
        self._tries = min(self._tries + 1, 32)
        return self.rng.uniform(0, bound)

    def reset(self) -> None:
        """Start over after a success."""
        self._tries = 0

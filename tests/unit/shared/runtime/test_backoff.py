"""Delays between tries."""

import random

from shared.runtime.backoff import Backoff


def test_backoff_doubles_below_its_cap_with_full_jitter() -> None:
    backoff = Backoff(base=1, cap=8, rng=random.Random(1))
    for bound in (1, 2, 4, 8, 8, 8):
        assert 0 <= backoff.next_delay() <= bound
    backoff.reset()
    assert backoff.next_delay() <= 1

"""The faults of a soak, decided up front by a seed."""

import random
from typing import Final

from tests.chaos.kinds import (
    LINK_FAULTS,
    LINKS,
    PART_FAULTS,
    PARTS,
    SERVER_FAULTS,
    Fault,
)

# These processes live from the beginning to the end, so that what they leak adds up. Their
# links are cut and they are frozen like the others, but only the others are ended.
LASTING: Final = ("gateway1", "listener1")
_ENDED: Final = ("gateway2", "listener2")
_FAULT_SECONDS: Final = (0.5, 6.0)


def plan_faults(seed: int, *, seconds: float, every: float) -> list[Fault]:
    """Return a fault for each *every* seconds, none of which is at the end.

    Each kind comes once before any comes again.
    """
    random_ = random.Random(seed)
    kinds: list[str] = []
    faults = []
    for number in range(1, int(seconds / every)):
        if not kinds:
            kinds = [*PART_FAULTS, *SERVER_FAULTS, *LINK_FAULTS]
            random_.shuffle(kinds)
        kind = kinds.pop()
        target = random_.choice(_targets(kind))
        faults.append(Fault(number * every, kind, target, random_.uniform(*_FAULT_SECONDS)))
    return faults


def _targets(kind: str) -> tuple[str, ...]:
    if kind in SERVER_FAULTS:
        return ("",)
    if kind in LINK_FAULTS:
        return LINKS
    return PARTS if kind == "freeze" else _ENDED

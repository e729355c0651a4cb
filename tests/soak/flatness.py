"""Rules of the verdict: does a quantity grow, and is everything returned at the end?"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

LEAST_POINTS: Final = 10
WARM_UP_SHARE: Final = 0.25
SWINGS: Final = 4
HOUR: Final = 3600.0


@dataclass(frozen=True)
class Quantity:
    """What is measured, and how much of a growth is noise.

    *grows_by*: allowed growth over the judged time, in the unit, or *share* of the level if
    that is more. *returns_within*: how much more of it there may be when all clients have left
    than before they came; None if that says nothing. *swing_seconds*: the period in which it
    rises and falls by design; it is judged over several.
    """

    unit: str
    grows_by: float
    share: float = 0.05
    returns_within: float | None = None
    swing_seconds: float = 0.0


QUANTITIES: Final[Mapping[str, Quantity]] = {
    # the first times that all clients return at once leave some
    "memory": Quantity("MiB", grows_by=5.0),
    "descriptors": Quantity("", grows_by=10, returns_within=16),
    "tasks": Quantity("", grows_by=5, returns_within=5),
    # pruned once a minute
    "change log rows": Quantity(
        "rows", grows_by=200, share=0.5, returns_within=200, swing_seconds=60
    ),
    "change log size": Quantity("MiB", grows_by=2.0, share=0.5, swing_seconds=60),
    "Redis size": Quantity("MiB", grows_by=2.0),
    "Redis subscriptions": Quantity("", grows_by=20, returns_within=0),
    "connections": Quantity("", grows_by=10, share=0.25, returns_within=0),
    "channels": Quantity("", grows_by=10, share=0.25, returns_within=0),
}


@dataclass(frozen=True)
class Growth:
    """How a series grew in the judged time, by the fitted slope."""

    series: str
    unit: str
    level: float
    per_hour: float
    grown: float
    allowed: float

    @property
    def is_flat(self) -> bool:
        return self.grown <= self.allowed


def quantity_of(series: str) -> Quantity:
    """Return the quantity of a series such as ``gateway1 memory``."""
    return next(each for name, each in QUANTITIES.items() if series.endswith(name))


def fitted_slope(points: Sequence[tuple[float, float]]) -> float:
    """Return the Theil-Sen slope: the median of the slopes between all pairs of points.

    Unlike least squares it is not moved by what a fault does to a few samples.
    """
    return statistics.median(
        (later - value) / (at - before)
        for (before, value), (at, later) in combinations(points, 2)
    )


def judge_growth(series: str, points: Sequence[tuple[float, float]]) -> Growth | None:
    """Judge the points (seconds, value) of a series after the warm-up.

    None if they are too few, or of too short a time.
    """
    quantity = quantity_of(series)
    first, last = points[0][0], points[-1][0]
    judged = [each for each in points if each[0] >= first + WARM_UP_SHARE * (last - first)]
    if len(judged) < LEAST_POINTS:
        return None
    judged_seconds = judged[-1][0] - judged[0][0]
    if judged_seconds < SWINGS * quantity.swing_seconds:
        return None
    slope = fitted_slope(judged)
    level = statistics.median(value for _, value in judged)
    grown = slope * judged_seconds
    allowed = max(quantity.grows_by, quantity.share * level)
    return Growth(series, quantity.unit, level, slope * HOUR, grown, allowed)


def find_unreturned(before: Mapping[str, float], after: Mapping[str, float]) -> list[str]:
    """Return what was not given back after all clients had left, compared with before."""
    found = []
    for series, count in before.items():
        within = quantity_of(series).returns_within
        if series not in after:
            found.append(f"{series}: no answer at the end")
        elif within is not None and after[series] > count + within:
            found.append(f"{series}: {count:g} before, {after[series]:g} at the end")
    return found

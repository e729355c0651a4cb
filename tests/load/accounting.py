"""Deliveries, losses and latencies, computed from what the clients recorded."""

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, TypeAlias

from hdrh.histogram import HdrHistogram

Microseconds: TypeAlias = "array[int]"
LONGEST_US: Final = 3_600_000_000
DIGITS: Final = 3  # every percentile is off by 0.1 % at most
PERCENTILES: Final = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p99.9": 99.9, "max": 100.0}
CLIENT_CPU_BOUND: Final = 0.85  # of one core
CLIENT_LAG_BOUND_MS: Final = 10.0
MOST_AWAY_SHARE: Final = 0.2
RETURNED_RESET: Final = "returned, reset"
RESET: Final = "reset: "
OF_ANOTHER_PROJECT: Final = "events of another project"
BROKEN: Final = "protocol broken: "


@dataclass(frozen=True)
class Verdict:
    """How many of its project's changes one subscriber received or lost."""

    by_event: int
    by_reset: int
    lost: list[int]


def judge(seen: bytearray, acknowledged_us: Sequence[int], reset_us: int) -> Verdict:
    """Judge one subscriber. *seen* has a 1 for each change whose event it received.

    A reset covers a change only if it came after the commit was acknowledged: what the client
    fetches after the reset must show the change.
    """
    by_event = sum(seen)
    if by_event == len(acknowledged_us):
        return Verdict(by_event, 0, [])
    missed = [
        change
        for change in range(len(acknowledged_us))
        if change >= len(seen) or not seen[change]
    ]
    lost = [change for change in missed if acknowledged_us[change] > reset_us]
    return Verdict(by_event, len(missed) - len(lost), lost)


def histogram(latencies_us: Iterable[int] = ()) -> HdrHistogram:
    """Return an HDR histogram of whole microseconds."""
    made = HdrHistogram(1, LONGEST_US, DIGITS)
    for value, count in Counter(latencies_us).items():
        made.record_value(min(max(value, 1), LONGEST_US), count)
    return made


def merge(histograms: Iterable[HdrHistogram]) -> HdrHistogram:
    """Return the sum of several histograms."""
    made = histogram()
    for one in histograms:
        made.add(one)
    return made


def percentiles_us(of: HdrHistogram) -> dict[str, int] | None:
    """Return the reported percentiles in microseconds, None if the histogram is empty."""
    if not of.get_total_count():
        return None
    return {name: of.get_value_at_percentile(share) for name, share in PERCENTILES.items()}


def find_bottleneck(busiest_cores: Mapping[str, float], lag_p99_ms: float) -> list[str]:
    """Return why the load client itself limits latency; empty if it does not."""
    found = [
        f"{name} used {cores:.2f} of a core"
        for name, cores in busiest_cores.items()
        if cores >= CLIENT_CPU_BOUND
    ]
    if lag_p99_ms > CLIENT_LAG_BOUND_MS:
        found.append(f"its event loop was late by {lag_p99_ms:.1f} ms (p99)")
    return found


def find_problems(lost: int, counts: Mapping[str, int]) -> list[str]:
    """Return the problems that make the run fail."""
    found = [f"{lost} lost"] if lost else []
    found += [
        f"{count} {name}"
        for name, count in counts.items()
        if name == OF_ANOTHER_PROJECT or name.startswith(BROKEN)
    ]
    return found


def most_at_once(intervals: Iterable[tuple[int, int]]) -> int:
    """Return how many of the intervals, each with its start and its end, overlap at most."""
    steps = sorted(step for start, end in intervals for step in ((start, 1), (end, -1)))
    return max(accumulate(change for _, change in steps), default=0)


def find_disturbances(counts: Mapping[str, int], *, most_away: int, sockets: int) -> list[str]:
    """Return what a change of the stack that clients must not notice has cost them."""
    resets = sum(
        count
        for name, count in counts.items()
        if name == RETURNED_RESET or name.startswith(RESET)
    )
    found = [f"{resets} clients reset"] if resets else []
    if most_away > MOST_AWAY_SHARE * sockets:
        found.append(
            f"{most_away} of {sockets} clients away at once: over {MOST_AWAY_SHARE:.0%}"
        )
    return found

"""What a process counted in each of the last seconds, and its recent resets."""

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, Final

HISTORY_SECONDS: Final = 60
MAX_RESETS: Final = 20


class RecentHistory:
    """One value of each series for each of the last ``HISTORY_SECONDS``, oldest first."""

    def __init__(self) -> None:
        self._series: dict[str, deque[float | None]] = {}
        self._totals: dict[str, float] = {}
        self._resets: deque[dict[str, Any]] = deque(maxlen=MAX_RESETS)
        self._reset_totals: dict[str, float] = {}

    def add_total(self, name: str, total: float) -> None:
        """Add by how much a total has grown since the second before."""
        self._add(name, total - self._totals.get(name, total))
        self._totals[name] = total

    def add_milliseconds(self, name: str, seconds: Iterable[float]) -> None:
        """Add the median and the 99th percentile of some durations; None without any."""
        found = sorted(seconds)
        for percent in (50, 99):
            value = None
            if found:
                value = round(found[(len(found) - 1) * percent // 100] * 1000, 1)
            self._add(f"{name}_p{percent}_ms", value)

    def note_resets(self, totals: Mapping[str, float], *, at: int) -> None:
        """Note by how much the totals of resets by reason have grown; *at* in Unix seconds."""
        for reason, total in totals.items():
            count = total - self._reset_totals.get(reason, 0)
            if count > 0:
                self._resets.appendleft({"at": at, "reason": reason, "count": round(count)})
        self._reset_totals = dict(totals)

    @property
    def series(self) -> dict[str, list[float | None]]:
        return {name: list(values) for name, values in self._series.items()}

    @property
    def resets(self) -> list[dict[str, Any]]:
        """The newest resets first: when, why and how many."""
        return list(self._resets)

    def _add(self, name: str, value: float | None) -> None:
        self._series.setdefault(name, deque(maxlen=HISTORY_SECONDS)).append(value)

"""Removes rows from the change log once the saved cursor has seen them."""

import asyncio
from typing import Final

from listener.leader.change_log import MAX_ROWS_PER_PRUNE, ChangeLog
from listener.leader.leader_state import LeaderState
from listener.leader.metrics import LeaderMetrics

PRUNE_SECONDS: Final = 60.0
SKIPPING_PRUNE_SECONDS: Final = 5.0  # while triggers skip the log: it may be full
PRUNE_BUDGET_SECONDS: Final = 1.0  # of a tick


class Pruner:
    """Prunes the log each minute. Every method raises ``PgLost``."""

    def __init__(self, change_log: ChangeLog, metrics: LeaderMetrics) -> None:
        self._log = change_log
        self._metrics = metrics
        self._pruned_at = 0.0

    def make_due(self) -> None:
        """Prune at the next tick."""
        self._pruned_at = 0.0

    async def prune_if_due(self, saved: LeaderState, now: float) -> None:
        """Remove what the cursor of the state that was just *saved* has seen, if it is time."""
        seconds = PRUNE_SECONDS if saved.live else SKIPPING_PRUNE_SECONDS
        if now - self._pruned_at < seconds:
            return
        loop = asyncio.get_running_loop()
        while (removed := await self._log.prune(saved.cursor)) == MAX_ROWS_PER_PRUNE:
            self._metrics.pruned.inc(removed)
            if loop.time() - now > PRUNE_BUDGET_SECONDS:
                return  # the next tick removes more
        self._metrics.pruned.inc(removed)
        self._pruned_at = now
        if not saved.live:
            await self._log.shrink()

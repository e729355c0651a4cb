"""Follows whether changes are captured: triggers, skipped changes, and the members query."""

import asyncio
import logging
from dataclasses import replace
from typing import Final

from listener.leader.change_log import ChangeLog
from listener.leader.completeness import CaptureState
from listener.leader.leader_state import Batch
from listener.leader.metrics import LeaderMetrics
from listener.leader.project_members import ProjectMembers

CHECK_SECONDS: Final = 2.0

log = logging.getLogger(__name__)


class CaptureWatch:
    """The newest ``state`` of the triggers, and whether the members query fails.

    Every method raises ``PgLost``.
    """

    def __init__(
        self, change_log: ChangeLog, members: ProjectMembers, metrics: LeaderMetrics
    ) -> None:
        self._log = change_log
        self._members = members
        self._metrics = metrics
        self._checked_at = 0.0
        self.state = CaptureState()
        self.lacks_members = False

    async def check(self) -> None:
        """Compare the triggers with what was installed, and log a difference once."""
        self._checked_at = asyncio.get_running_loop().time()
        found = await self._log.capture()
        before = self.state
        is_new = found.fingerprint != before.fingerprint
        self.state = replace(found, is_new=is_new)
        self._metrics.capture_differences.set(len(found.differences))
        if found.differences and found.differences != before.differences:
            log.error(
                "changes are not captured: run neverstale install",
                extra={"count": len(found.differences), "differences": found.differences},
            )
        elif is_new and before.fingerprint:
            log.info("triggers, functions or partitions of watched tables were changed")

    async def check_if_due(self, now: float) -> None:
        """Notice what migrations broke, and what has been repaired since."""
        if self.state.is_new or now - self._checked_at >= CHECK_SECONDS:
            await self.check()
        if self.lacks_members:
            self.lacks_members = not await self._members.can_be_queried()

    async def note_skipped(self, batch: Batch) -> None:
        """Store in PostgreSQL that triggers skip the log."""
        if batch.is_skipping and not batch.has_skipped:
            log.warning("changes are not captured: the log is full, or disabled")
        await self._log.note_skipped(skipped=True)

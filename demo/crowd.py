"""Simulated users who change a project, to show live updates."""

import asyncio
import logging
import random
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import asyncpg

from demo.database import Pool, statement

LIFE_SECONDS: Final = 60.0  # a crowd that is never stopped ends by itself
# A crowd is no row: no trigger sees it start and stop.
_NOTIFY: Final = "select neverstale.notify('crowd', 'UPDATE', $1, $1)"
_NOTIFY_ALL: Final = (
    "select neverstale.notify('crowd', 'UPDATE', id::text, id::text) from projects"
)
_FAILURES: Final = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError)
_MOVE: Final = statement("crowd_move")
_SAY: Final = statement("crowd_say")
_REMARKS: Final = ("On it.", "Looks good.", "Who has the checklist?", "Done, next.", "Go!")
_SHARE_OF_TALK: Final = 0.04

log = logging.getLogger(__name__)


@dataclass
class _RunningCrowd:
    per_second: int
    task: asyncio.Task[None]


class Crowd:
    """Runs at most one crowd for each project."""

    def __init__(self, pool: Pool, tasks: asyncio.TaskGroup) -> None:
        self._pool = pool
        self._tasks = tasks
        self._running: dict[str, _RunningCrowd] = {}

    async def notify_all(self) -> None:
        """Notify every project that it has no crowd: those of an earlier run ended with it."""
        try:
            await self._pool.execute(_NOTIFY_ALL)
        except _FAILURES as exc:  # Neverstale may be installed later
            log.warning("pages may show a crowd that ended", extra={"reason": str(exc)})

    async def set_rate(self, project_id: str, per_second: int) -> None:
        """Make *per_second* changes a second from now on; 0 stops the crowd."""
        old = self._running.pop(project_id, None)
        if old is not None:
            old.task.cancel()
        if per_second:
            task = self._tasks.create_task(self._run(project_id, per_second))
            self._running[project_id] = _RunningCrowd(per_second, task)
        await self._pool.execute(_NOTIFY, project_id)

    def stop(self) -> None:
        """Stop all crowds, without a notification: the demo ends."""
        for crowd in self._running.values():
            crowd.task.cancel()

    def state(self, project_id: str) -> dict[str, Any]:
        crowd = self._running.get(project_id)
        return {"per_second": crowd.per_second if crowd else 0}

    async def _run(self, project_id: str, per_second: int) -> None:
        try:
            await self._change(project_id, per_second)
        except _FAILURES as exc:
            log.warning("the crowd stopped", extra={"reason": str(exc)})
        del self._running[project_id]  # when cancelled, ``set_rate`` has replaced it
        with suppress(*_FAILURES):  # the database's return is a reset: clients ask again
            await self._pool.execute(_NOTIFY, project_id)

    async def _change(self, project_id: str, per_second: int) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        end = due + LIFE_SECONDS
        while due < end:
            if random.random() < _SHARE_OF_TALK:  # noqa: S311 no secret
                remark = random.choice(_REMARKS)  # noqa: S311 no secret
                await self._pool.execute(_SAY, project_id, remark)
            else:
                await self._pool.execute(_MOVE, project_id)
            # a slow database: skipped changes are not made up for
            due = max(due + 1 / per_second, loop.time() - 1)
            await asyncio.sleep(max(0, due - loop.time()))

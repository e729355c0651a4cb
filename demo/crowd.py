"""Simulated users who change a project, to show live updates."""

import asyncio
import logging
import random
from dataclasses import dataclass
from typing import Any, Final

import asyncpg

from demo.database import Pool, statement

LIFE_SECONDS: Final = 60.0  # a crowd that is never stopped ends by itself
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

    def set_rate(self, project_id: str, per_second: int) -> None:
        """Make *per_second* changes a second from now on; 0 stops the crowd."""
        old = self._running.pop(project_id, None)
        if old is not None:
            old.task.cancel()
        if per_second:
            task = self._tasks.create_task(self._change(project_id, per_second))
            self._running[project_id] = _RunningCrowd(per_second, task)

    def stop_all(self) -> None:
        for project_id in list(self._running):
            self.set_rate(project_id, 0)

    def state(self, project_id: str) -> dict[str, Any]:
        crowd = self._running.get(project_id)
        is_running = crowd is not None and not crowd.task.done()
        return {"per_second": crowd.per_second if crowd and is_running else 0}

    async def _change(self, project_id: str, per_second: int) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        end = due + LIFE_SECONDS
        try:
            while due < end:
                if random.random() < _SHARE_OF_TALK:  # noqa: S311 no secret
                    remark = random.choice(_REMARKS)  # noqa: S311 no secret
                    await self._pool.execute(_SAY, project_id, remark)
                else:
                    await self._pool.execute(_MOVE, project_id)
                # a slow database: skipped changes are not made up for
                due = max(due + 1 / per_second, loop.time() - 1)
                await asyncio.sleep(max(0, due - loop.time()))
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as exc:
            log.warning("the crowd stopped", extra={"reason": str(exc)})

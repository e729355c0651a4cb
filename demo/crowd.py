"""A crowd of simulated users, who change a project so that one sees it live."""

import asyncio
import logging
import random
from dataclasses import dataclass
from typing import Any, Final

import asyncpg

from demo.database import Pool, statement

LIFE_SECONDS: Final = 60.0  # so that a forgotten one ends
_MOVE: Final = statement("crowd_move")
_SAY: Final = statement("crowd_say")
_REMARKS: Final = ("On it.", "Looks good.", "Who has the checklist?", "Done, next.", "Go!")
_SHARE_OF_TALK: Final = 0.04

log = logging.getLogger(__name__)


@dataclass
class _Visit:
    per_second: int
    task: asyncio.Task[None]


class Crowd:
    """At most one crowd a project."""

    def __init__(self, pool: Pool, tasks: asyncio.TaskGroup) -> None:
        self._pool = pool
        self._tasks = tasks
        self._visits: dict[str, _Visit] = {}

    def send(self, project_id: str, per_second: int) -> None:
        """Let them make so many changes a second from now on; 0 sends them home."""
        old = self._visits.pop(project_id, None)
        if old is not None:
            old.task.cancel()
        if per_second:
            task = self._tasks.create_task(self._change(project_id, per_second))
            self._visits[project_id] = _Visit(per_second, task)

    def leave(self) -> None:
        for project_id in list(self._visits):
            self.send(project_id, 0)

    def state(self, project_id: str) -> dict[str, Any]:
        visit = self._visits.get(project_id)
        is_here = visit is not None and not visit.task.done()
        return {"per_second": visit.per_second if visit and is_here else 0}

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
                # what a slow database could not take is not made up for
                due = max(due + 1 / per_second, loop.time() - 1)
                await asyncio.sleep(max(0, due - loop.time()))
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as exc:
            log.warning("the crowd went home", extra={"reason": str(exc)})

"""Many writers at once: each committed change has its event, each event has its change."""

import asyncio
import random
import secrets
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import asyncpg

from tests.support.changes import is_reset
from tests.support.processes import Client
from tests.support.world import World

WRITERS = 32
CHANGES = 6_000
PROJECTS = 10
ROLLED_BACK = 0.1
LONG = 0.02


@dataclass
class Ledger:
    """What was committed: (project, action, id), and when at the latest."""

    committed: dict[tuple[str, str, str], float] = field(default_factory=dict)
    changes: int = 0


class Writer:
    """Random transactions on rows of its own."""

    def __init__(self, url: str, projects: list[str], ledger: Ledger, seed: int) -> None:
        self._url = url
        self._projects = projects
        self._ledger = ledger
        self._random = random.Random(seed)
        self._rows: dict[str, str] = {}  # task -> project

    async def run(self) -> None:
        connection = await asyncpg.connect(self._url)
        while self._ledger.changes < CHANGES:
            await self._transaction(connection)
        await connection.close()

    async def _transaction(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        rows, told = dict(self._rows), []
        transaction = connection.transaction()
        await transaction.start()
        for _ in range(self._random.randint(1, 6)):
            if self._random.random() < 0.2:
                savepoint = connection.transaction()
                await savepoint.start()
                await self._change(connection, dict(rows))
                await savepoint.rollback()
            told += await self._change(connection, rows)
        if self._random.random() < LONG:
            await asyncio.sleep(self._random.random() / 10)
        self._ledger.changes += len(told)
        if self._random.random() < ROLLED_BACK:
            await transaction.rollback()
            return
        await transaction.commit()
        self._rows = rows
        self._ledger.committed.update(dict.fromkeys(told, time.monotonic()))

    async def _change(
        self, connection: "asyncpg.Connection[asyncpg.Record]", rows: dict[str, str]
    ) -> list[tuple[str, str, str]]:
        """One change, and whom it is to be told to."""
        kind = self._random.choice(["insert", "update", "move", "delete"]) if rows else "insert"
        project = self._random.choice(self._projects)
        task = self._random.choice(list(rows)) if rows else ""
        if kind == "insert":
            task = str(UUID(int=self._random.getrandbits(128), version=4))
            sql = "insert into tasks (id, project_id, title) values ($1, $2, '')"
            await connection.execute(sql, task, project)
            rows[task] = project
            return [(project, "INSERT", task)]
        if kind == "update":
            await connection.execute("update tasks set title = 'x' where id = $1", task)
            return [(rows[task], "UPDATE", task)]
        if kind == "move":
            sql = "update tasks set project_id = $2 where id = $1"
            await connection.execute(sql, task, project)
            before, rows[task] = rows[task], project
            return [(before, "UPDATE", task), (project, "UPDATE", task)]
        await connection.execute("delete from tasks where id = $1", task)
        return [(rows.pop(task), "DELETE", task)]


async def hear(client: Client, mark: str, heard: list[tuple[float, dict[str, Any]]]) -> None:
    """Record what a client is told, up to the mark."""
    while not heard or heard[-1][1].get("data", {}).get("id") != mark:
        heard.append((time.monotonic(), await client.next()))


async def test_each_commit_has_its_event_and_each_event_its_commit(world: World) -> None:
    await world.listener()
    gateway = await world.gateway()
    projects = [str(uuid4()) for _ in range(PROJECTS)]
    await world.database.executemany(
        "insert into projects (id, owner_id, name) values ($1, $2, '')",
        [(project, world.ada) for project in projects],
    )
    ledger, mark, seed = Ledger(), secrets.token_hex(4), secrets.randbits(32)
    print(f"seed {seed}")
    heard: dict[str, list[tuple[float, dict[str, Any]]]] = {project: [] for project in projects}
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as hearing:
        for project in projects:
            client = await stack.enter_async_context(
                world.client(gateway, project, world.ada, v1=True)
            )
            hearing.create_task(hear(client, mark, heard[project]))
        async with asyncio.TaskGroup() as writing:
            for number in range(WRITERS):
                writer = Writer(world.database_url, projects, ledger, seed + number)
                writing.create_task(writer.run())
        for project in projects:
            await world.database.execute(
                "select neverstale.notify('mark', 'UPDATE', $1, $2)", project, mark
            )

    assert ledger.changes >= CHANGES
    for project in projects:
        resets = [at for at, frame in heard[project] if is_reset(frame)]
        events = {
            (project, frame["action"], frame["data"]["id"])
            for _, frame in heard[project]
            if not is_reset(frame) and frame["resource"] == "task"
        }
        due = {key: at for key, at in ledger.committed.items() if key[0] == project}
        missed = {
            key
            for key, at in due.items()
            if key not in events and not any(r > at for r in resets)
        }
        assert not missed
        assert events <= due.keys(), "an event without a commit"
        assert not resets, "nothing here needed a reset"

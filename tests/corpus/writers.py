"""Writers of the app: they write all the time, and adapt to a migration."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Final

import asyncpg

from tests.support.processes import HANG_SECONDS

PAUSE_SECONDS: Final = 0.03
_NUMBERS: Final = count(1)


@dataclass
class Statement:
    """A statement with a variant for each version of the app's code."""

    variants: Sequence[str]
    current: int = 0
    done: int = 0
    refused: str = ""


@dataclass
class Writer:
    """One session that runs its statements. ``faults`` are errors that we caused."""

    url: str
    statements: Sequence[Statement]
    faults: list[str] = field(default_factory=list)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def run(self) -> None:
        """Write until cancelled."""
        # a framework uses no prepared statements, or prepares again after an error
        connection = await asyncpg.connect(self.url, statement_cache_size=0)
        try:
            while True:
                for statement in self.statements:
                    async with self.lock:
                        await self._write(connection, statement)
                    await asyncio.sleep(PAUSE_SECONDS)
        finally:
            connection.terminate()

    async def _write(
        self, connection: "asyncpg.Connection[asyncpg.Record]", statement: Statement
    ) -> None:
        sql = statement.variants[statement.current].replace("{n}", str(next(_NUMBERS)))
        try:
            await connection.execute(sql)
        except asyncpg.PostgresError as exc:
            statement.refused = f"{type(exc).__name__}: {exc}"
            if is_ours(exc):
                self.faults.append(f"a write failed: {exc} ({exc.context})")
            statement.current = (statement.current + 1) % len(statement.variants)
        else:
            statement.done += 1


def is_ours(exc: asyncpg.PostgresError) -> bool:
    """Whether an error comes from our triggers, or from waiting for our locks."""
    told = " ".join(map(str, (exc, exc.detail, exc.hint, exc.context)))
    return "neverstale" in told


class Writers:
    """All writers of a schema."""

    def __init__(self, url: str, writers: Sequence[Sequence[Sequence[str]]]) -> None:
        self.writers = [
            Writer(url, [Statement(variants) for variants in statements])
            for statements in writers
        ]

    def take_faults(self) -> list[str]:
        """Return the faults since the last call, each kind once."""
        found = dict.fromkeys(fault for writer in self.writers for fault in writer.faults)
        for writer in self.writers:
            writer.faults.clear()
        return list(found)

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(writer.run()) for writer in self.writers]
            try:
                yield
            finally:
                for task in running:
                    task.cancel()

    @asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        """During the body, all transactions are finished and nothing is written."""
        async with AsyncExitStack() as stack:
            for writer in self.writers:
                await stack.enter_async_context(writer.lock)
            yield

    async def progress(self) -> list[str]:
        """Wait until each statement has run again. Return the others, with the reason."""
        goals = [
            (statement, statement.done + 1)
            for writer in self.writers
            for statement in writer.statements
        ]
        try:
            async with asyncio.timeout(HANG_SECONDS):
                while any(statement.done < goal for statement, goal in goals):
                    await asyncio.sleep(PAUSE_SECONDS)
        except TimeoutError:
            return [
                f"can't be written any more: {statement.variants[0]!r}: {statement.refused}"
                for statement, goal in goals
                if statement.done < goal
            ]
        return []

"""Writers of the app, whose transactions are recorded when sent and when acknowledged."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

import asyncpg

from tests.chaos import access_writes, row_writes
from tests.chaos.kinds import ACCESS_WRITES
from tests.chaos.known_ids import KnownIds
from tests.chaos.pages import load_access
from tests.chaos.plan import Write
from tests.chaos.record import Record, RowKey
from tests.chaos.stack import ProxiedStack
from tests.chaos.transaction import RolledBack, Transaction
from tests.support.database import GONE, Database

WRITE_SECONDS: Final = 12.0
RETRY_SECONDS: Final = 0.2
BURST_COMMITS: Final = 14


class Writer:
    """One writer with its own session, which waits while PostgreSQL is down."""

    def __init__(self, name: str, stack: ProxiedStack, record: Record, known: KnownIds) -> None:
        self._name = name
        self._stack = stack
        self._record = record
        self._known = known
        self._database: Database | None = None

    async def run(self, writes: Sequence[Write], began: float) -> None:
        """Carry out the writes in order, each at its time or as soon as possible after it."""
        for write in writes:
            await asyncio.sleep(began + write.at - self._record.now())
            for number in range(BURST_COMMITS if write.kind == "burst" else 1):
                await self._do(replace(write, pick=write.pick + number))
        await self.close()

    async def close(self) -> None:
        if self._database is not None:
            self._database.terminate()
            self._database = None

    async def _do(self, write: Write) -> None:
        sent_at = self._record.now()
        try:
            async with asyncio.timeout(WRITE_SECONDS):
                async with self._transaction(write) as transaction:
                    await act(transaction, write)
        except RolledBack:
            pass
        except GONE as exc:
            self._note(f"{write.kind}: the database is gone: {type(exc).__name__} {exc}")
            await self.close()
        except asyncpg.PostgresError as exc:
            self._note(f"{write.kind}: {type(exc).__name__} {exc}")
        if write.kind in ACCESS_WRITES:
            await self._look_who_has_access(sent_at)

    @asynccontextmanager
    async def _transaction(self, write: Write) -> AsyncIterator[Transaction]:
        database = await self._connected()
        handle = database.transaction()
        await handle.start()
        transaction = Transaction(database, [], self._known)
        try:
            yield transaction
        except BaseException:
            try:
                await handle.rollback()
            except (*GONE, asyncpg.PostgresError):
                await self.close()
            raise
        change = self._record.sent(write.kind, transaction.row_keys)
        try:
            await handle.commit()
        except GONE:
            raise  # whether it was committed is unknown
        except asyncpg.PostgresError:
            self._record.undone(change)
            raise
        change.acked_at = self._record.now()
        self._note(
            f"{write.kind}: {summary(transaction.row_keys)} sent at {change.sent_at:.3f}"
        )

    async def _connected(self) -> Database:
        """Return a session, waiting for the database as long as needed."""
        while self._database is None or self._database.is_closed():
            try:
                self._database = await asyncpg.connect(
                    self._stack.database_url, timeout=WRITE_SECONDS
                )
            except (*GONE, asyncpg.PostgresError):
                await asyncio.sleep(RETRY_SECONDS)
        return self._database

    async def _look_who_has_access(self, sent_at: float) -> None:
        while True:
            database = await self._connected()
            try:
                async with asyncio.timeout(WRITE_SECONDS):
                    self._record.saw_access(await load_access(database), sent_at=sent_at)
            except (*GONE, asyncpg.PostgresError):
                await self.close()
                await asyncio.sleep(RETRY_SECONDS)
            else:
                return

    def _note(self, what: str) -> None:
        self._stack.timeline.note(self._name, what)


async def act(transaction: Transaction, write: Write) -> None:
    """Carry out one planned write in an open transaction."""
    if write.kind in ACCESS_WRITES:
        await access_writes.act(transaction, write)
    else:
        await row_writes.act(transaction, write)


def summary(row_keys: Sequence[RowKey]) -> str:
    """Return the row keys in short."""
    shown = ", ".join(
        f"{resource} {id_} of {project}" for project, resource, id_ in row_keys[:4]
    )
    return shown + (f" and {len(row_keys) - 4} more" if len(row_keys) > 4 else "")

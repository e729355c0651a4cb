"""The traffic of a soak: rows are written, users lose and regain access, sockets leave."""

import asyncio
import os
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import asyncpg

from tests.load.measurement import Clients, Insert, Options, Run, Writer
from tests.load.wire import ID_SQL, uuid_of
from tests.support.database import GONE, Database

RETRY_SECONDS: Final = 0.3
STATEMENT_SECONDS: Final = 30.0
WITHOUT_ACCESS_SECONDS: Final = 5.0
CALIBRATION_SECONDS: Final = 8
CALIBRATION_RATE: Final = 40.0
LEAST_RATE: Final = 5.0
MOST_RATE: Final = 1000.0
OWNER: Final = 2**40
SETUP: Final = f"""
insert into users (id, name) values ({ID_SQL.format(f"{OWNER}::bigint")}, 'owner');
insert into users (id, name)
select {ID_SQL.format("n")}, '' from generate_series(0, {{sockets}} - 1) as n;
insert into projects (id, owner_id, name)
select {ID_SQL.format("n")}, {ID_SQL.format(f"{OWNER}::bigint")}, ''
  from generate_series(0, {{projects}} - 1) as n;
"""
# Also gives back what was taken away.
MEMBERS: Final = f"""
insert into project_members (project_id, user_id)
select {ID_SQL.format("n % {projects}")}, {ID_SQL.format("n")}
  from generate_series(0, {{sockets}} - 1) as n
on conflict do nothing
"""
_INSERT: Final = "insert into tasks (id, project_id, title) values ($1, $2, '')"
_REVOKE: Final = "delete from project_members where project_id = $1 and user_id = $2"
_GRANT: Final = """
insert into project_members (project_id, user_id) values ($1, $2) on conflict do nothing
"""


class PatientSession:
    """A session that is opened again when it is lost."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._database: Database | None = None

    async def execute(self, sql: str, *arguments: Any) -> bool:
        """Run a statement once. Return whether it is known to be committed."""
        try:
            if self._database is None or self._database.is_closed():
                self._database = await asyncpg.connect(self._url, timeout=STATEMENT_SECONDS)
            await self._database.execute(sql, *arguments, timeout=STATEMENT_SECONDS)
        except (*GONE, asyncpg.PostgresError):
            self.close()
            await asyncio.sleep(RETRY_SECONDS)
            return False
        return True

    async def insist(self, sql: str, *arguments: Any) -> None:
        """Run a statement until it is known to be committed."""
        while not await self.execute(sql, *arguments):
            pass

    def close(self) -> None:
        if self._database is not None:
            self._database.terminate()
            self._database = None


@asynccontextmanager
async def patient_session(url: str) -> AsyncIterator[PatientSession]:
    session = PatientSession(url)
    try:
        yield session
    finally:
        session.close()


class PatientWriter(Writer):
    """Writes tasks, and loses only those rows whose commit a fault prevents."""

    def __init__(self, url: str, options: Options, now_us: Callable[[], int]) -> None:
        super().__init__(url, options, now_us)
        self._patient_url = url

    @asynccontextmanager
    async def _inserting(self) -> AsyncIterator[Insert]:
        async with patient_session(self._patient_url) as session:

            async def insert(id_: str, project_id: str) -> bool:
                return await session.execute(_INSERT, id_, project_id)

            yield insert


async def revoke(url: str, options: Options, random_: random.Random, every: float) -> None:
    """Take a user's access away for a while, again and again. Never returns.

    What is taken away when this is cancelled, ``give_back`` gives back.
    """
    async with patient_session(url) as session:
        while True:
            await asyncio.sleep(every)
            number = random_.randrange(options.sockets)
            pair = (uuid_of(number % options.projects), uuid_of(number))
            await session.insist(_REVOKE, *pair)
            await asyncio.sleep(WITHOUT_ACCESS_SECONDS)
            await session.insist(_GRANT, *pair)


async def give_back(url: str, options: Options) -> None:
    """Give every user access again."""
    async with patient_session(url) as session:
        members = MEMBERS.format(sockets=options.sockets, projects=options.projects)
        await session.insist(members)


async def churn(clients: Clients, per_second: float) -> None:
    """End a socket's connection, so many times a second. Never returns."""
    while True:
        clients.cut_any()
        await asyncio.sleep(1 / per_second)


async def calibrate(run: Run[Any], share: float) -> float:
    """Return the rate of rows a second at which all processes together use this share of the
    machine, as far as a straight line through two loads says.
    """
    idle_cores, _ = await _watch(run)
    run.writer.rate = CALIBRATION_RATE
    async with run.writing():
        loaded_cores, written = await _watch(run)
    cores_per_row = max(loaded_cores - idle_cores, 0.001) / max(written, 1.0)
    wanted_cores = share * (os.cpu_count() or 1)
    return min(MOST_RATE, max(LEAST_RATE, (wanted_cores - idle_cores) / cores_per_row))


async def _watch(run: Run[Any]) -> tuple[float, float]:
    """Return the cores that all processes use, and the rows written a second."""
    first = last = await run.next_sample()
    while last < first + CALIBRATION_SECONDS:
        last = await run.next_sample()
    before, after = run.samples[first], run.samples[last]
    seconds = after.at_seconds - before.at_seconds
    cores = sum(after.cpu_seconds.values()) - sum(before.cpu_seconds.values())
    return cores / seconds, (after.written - before.written) / seconds

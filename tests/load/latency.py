"""``make bench-latency``: how long after its commit a change is published.

Sixteen writers, paced, and a raw subscriber of Redis in the same process: its clock is that of
both ends. A change counts from the moment at which its writer knew that it was committed; one
that is heard before that counts as 0.
"""

import argparse
import asyncio
import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias

import asyncpg
import hiredis
import uvloop

from tests.load.stack import Stack, running

WRITERS: Final = 16
RATES: Final = (10, 300, 1500)
ROWS: Final = 50_000  # more than are changed in one run: each event has one change
PROJECTS: Final = 200
BACKLOG: Final = 300_000
HANG_SECONDS: Final = 30.0
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
UPDATE: Final = "update tasks set title = 'x' || $1::int where id = $1"
SCHEMA: Final = f"""
create table projects (id uuid primary key, owner_id uuid);
create table project_members (project_id uuid, user_id uuid);
insert into projects
select gen_random_uuid(), gen_random_uuid() from generate_series(1, {PROJECTS});
create table tasks (id int primary key, project_id uuid not null, title text);
insert into tasks
select n, (array(select id from projects))[1 + n % {PROJECTS}], ''
  from generate_series(1, {ROWS}) as n;
"""
CONFIG: Final = """
[[watch]]
table = "tasks"
resource = "task"
id = "id"
project = "project_id"
"""
MARK: Final = "select neverstale.notify('task', 'UPDATE', id::text, '-1') from projects limit 1"
LOG_BACKLOG: Final = f"""
select neverstale.notify('task', 'UPDATE', id::text, '-1')
  from projects, generate_series(1, {BACKLOG // PROJECTS})"""


@dataclass
class Measured:
    """One run: seconds from commit to published, and what was used meanwhile."""

    name: str
    wanted: int
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)


class Ears(asyncio.Protocol):
    """Subscribes to all projects, and notes when it hears of each task."""

    def __init__(self) -> None:
        self._reader = hiredis.Reader()
        self.heard_at: dict[int, float] = {}
        self.subscribed = asyncio.Event()
        self.caught_up = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        self._reader.feed(data)
        while message := self._reader.gets():
            if message[0] == b"psubscribe":
                self.subscribed.set()
                continue
            _, _, rest = message[3].partition(b'"id":"')
            task = int(rest[: rest.find(b'"')])
            if task < 0:
                self.caught_up.set()
            else:
                self.heard_at[task] = now


def main() -> int:
    """Run it and print the table."""
    parser = argparse.ArgumentParser(prog="make bench-latency", description=__doc__)
    parser.add_argument(
        "--seconds", type=float, default=10, help="of each measurement (default 10)"
    )
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="neverstale-bench-") as name,
        running(Path(name), SCHEMA, CONFIG) as stack,
    ):
        found = uvloop.run(_measure_all(stack, arguments.seconds))
    _report(found)
    return 0


async def _measure_all(stack: Stack, seconds: float) -> list[Measured]:
    loop = asyncio.get_running_loop()
    transport, ears = await loop.create_connection(Ears, "127.0.0.1", stack.valkey.port)
    transport.write(b"*2\r\n$10\r\nPSUBSCRIBE\r\n$9\r\nproject:*\r\n")
    await _in_time(ears.subscribed)
    paced = [Measured(f"{rate:,} tx/s", rate) for rate in RATES]
    held = Measured(f"300 tx/s, one transaction open since before {BACKLOG:,} rows", 300)
    async with _connections(stack, WRITERS + 2) as (holding, logging, *writers):
        await _until_led(ears, logging)
        for run in paced:
            await _measure(stack, ears, writers, run, seconds)
        await holding.execute("begin; update tasks set title = 'held' where id = 1")
        ears.caught_up.clear()
        print(f"logging {BACKLOG:,} rows", file=sys.stderr, flush=True)
        await logging.execute(LOG_BACKLOG)
        await _in_time(ears.caught_up)
        await _measure(stack, ears, writers, held, seconds)
    transport.close()
    return [*paced, held]


@asynccontextmanager
async def _connections(stack: Stack, number: int) -> AsyncIterator[list[Connection]]:
    async with AsyncExitStack() as exits:
        opened = []
        for _ in range(number):
            connection = await asyncpg.connect(stack.postgres.url)
            exits.callback(connection.terminate)
            opened.append(connection)
        yield opened


async def _measure(
    stack: Stack, ears: Ears, writers: list[Connection], run: Measured, seconds: float
) -> None:
    print(f"{run.name}: {seconds:g} s", file=sys.stderr, flush=True)
    ears.heard_at.clear()
    committed_at: dict[int, float] = {}
    cpu_before, started = _cpu_seconds(stack.listener.process.pid), time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for number, writer in enumerate(writers):
            tasks.create_task(_write(writer, number, run.wanted, seconds, committed_at))
    run.seconds = time.perf_counter() - started
    run.cpu_seconds = _cpu_seconds(stack.listener.process.pid) - cpu_before
    async with asyncio.timeout(HANG_SECONDS):
        while not committed_at.keys() <= ears.heard_at.keys():
            await asyncio.sleep(0.01)
    run.latencies = [max(0.0, ears.heard_at[task] - at) for task, at in committed_at.items()]


async def _until_led(ears: Ears, logging: Connection) -> None:
    """Mark the log until a mark is heard: a leader's first reset covers what was before it."""
    async with asyncio.timeout(HANG_SECONDS):
        while not ears.caught_up.is_set():
            await logging.execute(MARK)
            await asyncio.sleep(0.1)


async def _in_time(event: asyncio.Event) -> None:
    async with asyncio.timeout(HANG_SECONDS):
        await event.wait()


async def _write(
    writer: Connection,
    number: int,
    rate: int,
    seconds: float,
    committed_at: dict[int, float],
) -> None:
    """Change rows of one's own, each at its time or, once late, at once."""
    update = await writer.prepare(UPDATE)
    started = time.perf_counter()
    for turn in range(math.ceil(rate * seconds / WRITERS)):
        due = started + (turn * WRITERS + number) / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        task = 2 + (turn * WRITERS + number) % (ROWS - 1)  # row 1 is held
        await update.fetch(task)
        committed_at[task] = time.perf_counter()


def _cpu_seconds(pid: int) -> float:
    """What the process has used so far, in user and in kernel mode (proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _report(found: list[Measured]) -> None:
    print(f"\nfrom commit to published, {WRITERS} writers\n")
    print("| | tx/s | events | p50 ms | p99 ms | max ms | listener's CPU |")
    print("|---|---|---|---|---|---|---|")
    for run in found:
        cuts = statistics.quantiles(run.latencies, n=100, method="inclusive")
        cells = [
            run.name,
            f"{len(run.latencies) / run.seconds:,.0f}",
            f"{len(run.latencies):,}",
            *(f"{value * 1000:.1f}" for value in (cuts[49], cuts[98], max(run.latencies))),
            f"{run.cpu_seconds / run.seconds:.0%}",
        ]
        print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    sys.exit(main())

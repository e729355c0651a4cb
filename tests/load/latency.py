"""``make bench-latency``: how long after its commit a change is published.

Sixteen paced writers and a raw Redis subscriber run in the same process, so both ends share one
clock. Latency starts when the writer receives the commit's acknowledgement; an event that is
received before that counts as 0.
"""

import argparse
import asyncio
import math
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

from tests.load.stack import MeasuredStack, running
from tests.support.machine import own_cpu_seconds

WRITERS: Final = 16
RATES: Final = (10, 300, 1500)
ROWS: Final = 50_000  # more than are changed in one run, so that each event has one change
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
    """One run: seconds from commit to publication, and the CPU used."""

    name: str
    wanted: int
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)


class RedisSubscriber(asyncio.Protocol):
    """Subscribes to all projects, and records when each task's event is received."""

    def __init__(self) -> None:
        self._reader = hiredis.Reader()
        self.received_at: dict[int, float] = {}
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
                self.received_at[task] = now


def main() -> int:
    """Run the benchmark and print the table."""
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


async def _measure_all(stack: MeasuredStack, seconds: float) -> list[Measured]:
    loop = asyncio.get_running_loop()
    transport, subscriber = await loop.create_connection(
        RedisSubscriber, "127.0.0.1", stack.valkey.port
    )
    transport.write(b"*2\r\n$10\r\nPSUBSCRIBE\r\n$9\r\nproject:*\r\n")
    await _in_time(subscriber.subscribed)
    paced = [Measured(f"{rate:,} tx/s", rate) for rate in RATES]
    held = Measured(f"300 tx/s, one transaction open since before {BACKLOG:,} rows", 300)
    async with _connections(stack, WRITERS + 2) as (holding, logging, *writers):
        await _until_led(subscriber, logging)
        for run in paced:
            await _measure(stack, subscriber, writers, run, seconds)
        await holding.execute("begin; update tasks set title = 'held' where id = 1")
        subscriber.caught_up.clear()
        print(f"logging {BACKLOG:,} rows", file=sys.stderr, flush=True)
        await logging.execute(LOG_BACKLOG)
        await _in_time(subscriber.caught_up)
        await _measure(stack, subscriber, writers, held, seconds)
    transport.close()
    return [*paced, held]


@asynccontextmanager
async def _connections(stack: MeasuredStack, number: int) -> AsyncIterator[list[Connection]]:
    async with AsyncExitStack() as exits:
        opened = []
        for _ in range(number):
            connection = await asyncpg.connect(stack.postgres.url)
            exits.callback(connection.terminate)
            opened.append(connection)
        yield opened


async def _measure(
    stack: MeasuredStack,
    subscriber: RedisSubscriber,
    writers: list[Connection],
    run: Measured,
    seconds: float,
) -> None:
    print(f"{run.name}: {seconds:g} s", file=sys.stderr, flush=True)
    subscriber.received_at.clear()
    committed_at: dict[int, float] = {}
    cpu_before, started = own_cpu_seconds(stack.listeners[0].process.pid), time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for number, writer in enumerate(writers):
            tasks.create_task(_write(writer, number, run.wanted, seconds, committed_at))
    run.seconds = time.perf_counter() - started
    run.cpu_seconds = own_cpu_seconds(stack.listeners[0].process.pid) - cpu_before
    async with asyncio.timeout(HANG_SECONDS):
        while not committed_at.keys() <= subscriber.received_at.keys():
            await asyncio.sleep(0.01)
    run.latencies = [
        max(0.0, subscriber.received_at[task] - at) for task, at in committed_at.items()
    ]


async def _until_led(subscriber: RedisSubscriber, logging: Connection) -> None:
    """Log marks until one is received: a leader's first reset covers what was before it."""
    async with asyncio.timeout(HANG_SECONDS):
        while not subscriber.caught_up.is_set():
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
    """Change rows of this writer, each at its due time or, when late, at once."""
    update = await writer.prepare(UPDATE)
    started = time.perf_counter()
    for turn in range(math.ceil(rate * seconds / WRITERS)):
        due = started + (turn * WRITERS + number) / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        task = 2 + (turn * WRITERS + number) % (ROWS - 1)  # row 1 is held
        await update.fetch(task)
        committed_at[task] = time.perf_counter()


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

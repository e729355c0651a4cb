"""One scenario's run, as the parent sees it: client processes, writers and samples."""

import asyncio
import multiprocessing
import os
import random
import time
from array import array
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any, Final, Generic, Protocol, TypeAlias, TypeVar

import asyncpg

from tests.load.accounting import Microseconds
from tests.load.client import Findings, Plan, Reading, run_client
from tests.load.stack import StackFailed
from tests.load.subscriber import Assignment
from tests.load.wire import row_id, uuid_of
from tests.support.machine import cpu_seconds, own_cpu_seconds, resident_kib
from tests.support.processes import SECRET

WRITERS: Final = 16
FIRST_SOCKETS: Final = (
    20  # connected before memory is measured, so that one-time costs are not counted
)
LEAST_FOR_MEMORY: Final = 150
WARM_UP_SAMPLES: Final = 2
CONNECT_SECONDS: Final = 300.0
STOP_SECONDS: Final = 10.0
QUIET_SECONDS: Final = 3.0
SETTLE_SECONDS: Final = 60.0


# inserts a row (id, project) and returns whether the commit was acknowledged
Insert: TypeAlias = Callable[[str, str], Awaitable[bool]]


@dataclass(frozen=True)
class Options:
    """The size of a run."""

    sockets: int
    projects: int
    rate: float
    seconds: int
    gateways: int
    clients: int
    listeners: int = 1
    workers: int = 1
    slow_share: float = 0.0
    cut_share: float = 0.0
    id_bytes: int = 36
    is_v1: bool = True
    loses_one: bool = False
    is_seamless: bool = False  # no client may be reset, and few may be away at once
    token_seconds: float | None = None  # lifetime of tokens; None: they never expire


@dataclass(frozen=True)
class Sample:
    """Totals of work and resources at one moment of the run."""

    at_seconds: float
    written: int
    delivered: int
    resets: int
    live: int
    cpu_seconds: dict[str, float]


@dataclass(frozen=True)
class Window:
    """An interval of the run, in whole seconds, whose figures are reported together."""

    name: str
    first: int
    last: int


class Clients:
    """The client processes."""

    def __init__(
        self, links: list[Connection], pids: list[int], assignments: list[Assignment]
    ) -> None:
        self.pids = pids
        self.assignments = assignments
        self._links = links
        self._waiting = [len(assignments[n :: len(links)]) for n in range(len(links))]
        self._asking = asyncio.Lock()

    def connect(self, count: int) -> None:
        """Let *count* more sockets connect, an equal share in each process."""
        for number, link in enumerate(self._links):
            share = min(self._waiting[number], -(-count // len(self._links)))
            self._waiting[number] -= share
            link.send(("connect", share))

    def connect_all(self) -> None:
        self.connect(len(self.assignments))

    @property
    def called(self) -> int:
        """The number of sockets that were told to connect."""
        return len(self.assignments) - sum(self._waiting)

    def tell(self, command: str) -> None:
        """Send ``cut``, ``pause`` or ``wake`` (see ``Fleet``)."""
        for link in self._links:
            link.send((command,))

    def cut_any(self) -> None:
        """Let one socket's connection end; its subscriber comes back at once."""
        random.choice(self._links).send(("cut_any",))

    async def read(self) -> Reading:
        """Return the sum of all processes' readings."""
        readings: list[Reading] = await self._ask("read")
        return Reading(
            sum(each.live for each in readings),
            sum(each.delivered for each in readings),
            sum(each.resets for each in readings),
            [latency for each in readings for latency in each.recent_us],
            [why for each in readings for why in each.refused],
        )

    async def finish(self, acknowledged_us: dict[int, Microseconds]) -> list[Findings]:
        """Return all processes' findings and end them."""
        return await self._ask("finish", acknowledged_us)

    async def _ask(self, *command: Any) -> list[Any]:
        async with self._asking:  # one request at a time: answers do not name their request
            asked = asyncio.ensure_future(asyncio.to_thread(self._exchange, *command))
            try:
                return await asyncio.shield(asked)
            except asyncio.CancelledError:
                await asyncio.wait([asked])  # or the next request would take these answers
                raise
            except (EOFError, OSError) as exc:
                raise StackFailed("a load client has ended") from exc

    def _exchange(self, *command: Any) -> list[Any]:
        for link in self._links:
            link.send(command)
        return [link.recv() for link in self._links]


@contextmanager
def client_processes(options: Options, ports: list[int], base_ns: int) -> Iterator[Clients]:
    """Yield the processes, whose sockets are not connected yet."""
    assignments = [
        Assignment(
            number,
            number % options.projects,
            # the sockets of one project are spread over all gateways
            rotated(ports, number + number // options.projects),
            is_slow=_is_chosen(number, options.slow_share),
            is_cut=_is_chosen(number, options.cut_share),
        )
        for number in range(options.sockets)
    ]
    context = multiprocessing.get_context("spawn")
    links, processes = [], []
    for number in range(options.clients):
        ours, theirs = context.Pipe()
        plan = Plan(
            assignments[number :: options.clients],
            base_ns,
            SECRET,
            is_v1=options.is_v1,
            loses_one=options.loses_one,
            token_seconds=options.token_seconds,
        )
        process = context.Process(target=run_client, args=(theirs, plan), daemon=True)
        process.start()
        theirs.close()
        links.append(ours)
        processes.append(process)
    try:
        yield Clients(links, [each.pid or 0 for each in processes], assignments)
    finally:
        for link in links:
            link.close()
        for process in processes:
            process.join(STOP_SECONDS)
            process.kill()
            process.join()


def rotated(ports: list[int], by: int) -> list[int]:
    at = by % len(ports)
    return ports[at:] + ports[:at]


def _is_chosen(number: int, share: float) -> bool:
    """Whether it is among this share of all, which is spread evenly."""
    return int((number + 1) * share) > int(number * share)


class Writer:
    """Writes one new row per transaction, at a steady rate, in random projects."""

    def __init__(self, url: str, options: Options, now_us: Callable[[], int]) -> None:
        self.acknowledged_us: defaultdict[int, Microseconds] = defaultdict(lambda: array("Q"))
        self.write_us: Microseconds = array("I")
        self.rate = options.rate  # of the next ``writing()``
        self._url = url
        self._options = options
        self._now_us = now_us
        self._random = random.Random(7)
        self._pad = "x" * (options.id_bytes - 36)

    @property
    def written(self) -> int:
        """The number of rows whose commit was acknowledged."""
        return len(self.write_us)

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        """Write while the body runs; every row is committed when this ends."""
        stop = asyncio.Event()
        turns = iter(range(2**62))
        async with AsyncExitStack() as stack:
            inserts = [
                await stack.enter_async_context(self._inserting()) for _ in range(WRITERS)
            ]
            started = asyncio.get_running_loop().time()
            async with asyncio.TaskGroup() as tasks:
                for insert in inserts:
                    tasks.create_task(self._write(insert, started, turns, stop))
                try:
                    yield
                finally:
                    stop.set()

    @asynccontextmanager
    async def _inserting(self) -> AsyncIterator[Insert]:
        """Yield what inserts a row, on a separate connection."""
        connection = await asyncpg.connect(self._url)
        try:
            statement = await connection.prepare(
                "insert into rows (id, project_id) values ($1, $2)"
            )

            async def insert(id_: str, project_id: str) -> bool:
                await statement.fetch(id_, project_id)
                return True

            yield insert
        finally:
            connection.terminate()

    async def _write(
        self, insert: Insert, started: float, turns: Iterator[int], stop: asyncio.Event
    ) -> None:
        loop = asyncio.get_running_loop()
        for turn in turns:
            # late writes follow at once, so the rate holds as long as the writers can keep up
            await asyncio.sleep(max(0.0, started + turn / self.rate - loop.time()))
            if stop.is_set():
                return
            project = self._random.randrange(self._options.projects)
            acknowledged_us = self.acknowledged_us[project]
            change = len(acknowledged_us)
            acknowledged_us.append(0)
            sent_us = self._now_us()
            if await insert(row_id(sent_us, project, change) + self._pad, uuid_of(project)):
                acknowledged_us[change] = self._now_us()
                self.write_us.append(acknowledged_us[change] - sent_us)


class RunningStack(Protocol):
    """The processes that are measured."""

    def check(self) -> None:
        """Raise ``StackFailed`` if one has failed."""

    def pids(self) -> dict[str, list[int]]:
        """Return the processes by their role; ``gateways`` is one of the roles."""


AnyStack = TypeVar("AnyStack", bound=RunningStack)


@dataclass
class Run(Generic[AnyStack]):
    """What a scenario uses, and its results."""

    name: str
    options: Options
    stack: AnyStack
    clients: Clients
    writer: Writer
    base_ns: int
    windows: list[Window] = field(default_factory=list)
    samples: dict[int, Sample] = field(default_factory=dict)
    connected_per_second: float = 0.0
    memory_kib_per_connection: float | None = None  # with too few sockets it is noise
    tells_every_seconds: int = 1
    _sampled: asyncio.Event = field(default_factory=asyncio.Event)
    _used: defaultdict[str, dict[int, float]] = field(default_factory=lambda: defaultdict(dict))

    def now_seconds(self) -> float:
        return (time.monotonic_ns() - self.base_ns) / 1e9

    async def connect(self) -> None:
        """Connect all sockets. Memory is measured after the first few."""
        self.clients.connect(min(FIRST_SOCKETS, self.options.sockets // 2))
        first = self.clients.called
        await self.until_live(CONNECT_SECONDS)
        before_kib, started = self._gateways_kib(), time.monotonic()
        self.clients.connect_all()
        await self.until_live(CONNECT_SECONDS)
        rest = self.options.sockets - first
        self.connected_per_second = rest / (time.monotonic() - started)
        await self.next_sample()
        grown_kib = self._gateways_kib() - before_kib
        if rest >= LEAST_FOR_MEMORY:
            self.memory_kib_per_connection = grown_kib / rest

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        """Write while the body runs, which starts after a warm-up."""
        async with self.writer.writing():
            for _ in range(WARM_UP_SAMPLES):
                await self.next_sample()
            yield

    async def measure(self, name: str, seconds: int) -> None:
        """Return a window of this length, once it has passed."""
        first = last = await self.next_sample()
        while last < first + seconds:  # a machine that is too busy leaves samples out
            last = await self.next_sample()
        self.windows.append(Window(name, first, last))

    async def until_live(self, seconds: float) -> None:
        """Wait until all sockets told to connect are live. Raises ``StackFailed``."""
        deadline = time.monotonic() + seconds
        while (reading := await self.clients.read()).live < self.clients.called:
            if time.monotonic() > deadline:
                raise StackFailed(
                    f"after {seconds:g} s {reading.live} of {self.clients.called} sockets"
                    f" are live ({'; '.join(reading.refused) or 'none was refused'})"
                )
            await asyncio.sleep(0.02)

    async def settle(self) -> None:
        """Wait until all deliveries were made, or none has been made for a while."""
        owed = self.owed
        newest, since = (-1, -1), time.monotonic()
        deadline = since + SETTLE_SECONDS
        while time.monotonic() < deadline:
            reading = await self.clients.read()
            if reading.delivered >= owed:
                return
            if (reading.delivered, reading.live) != newest:
                newest, since = (reading.delivered, reading.live), time.monotonic()
            all_live = reading.live == self.options.sockets
            if all_live and time.monotonic() - since > QUIET_SECONDS:
                return
            await asyncio.sleep(0.05)

    @property
    def owed(self) -> int:
        """Return the number of deliveries that the changes so far require."""
        changes = self.writer.acknowledged_us
        return sum(len(changes.get(each.project, ())) for each in self.clients.assignments)

    async def sample(self) -> None:
        """Take a sample each whole second, and print progress."""
        while True:
            second = int(self.now_seconds()) + 1
            await asyncio.sleep(second - self.now_seconds())
            self.stack.check()
            reading = await self.clients.read()
            self.samples[second] = Sample(
                self.now_seconds(),
                self.writer.written,
                reading.delivered,
                reading.resets,
                reading.live,
                self._cpu_seconds(),
            )
            if second % self.tells_every_seconds == 0:
                self._tell(second, reading)
            self._sampled.set()
            self._sampled.clear()

    async def next_sample(self) -> int:
        """Wait for the next sample and return its second."""
        await self._sampled.wait()
        return max(self.samples)

    def _cpu_seconds(self) -> dict[str, float]:
        clients = {f"client {n}": [pid] for n, pid in enumerate(self.clients.pids, 1)}
        for role, pids in {**self.stack.pids(), **clients}.items():
            for pid in pids:
                # what a process has used counts when it has ended, too
                self._used[role][pid] = max(self._used[role].get(pid, 0.0), cpu_seconds(pid))
        used = {role: sum(each.values()) for role, each in self._used.items()}
        return used | {"writer": own_cpu_seconds(os.getpid())}  # all others are its children

    def _gateways_kib(self) -> int:
        return sum(map(resident_kib, self.stack.pids()["gateways"]))

    def _tell(self, second: int, reading: Reading) -> None:
        now, before = self.samples[second], self.samples.get(second - 1)
        if before is None:
            return
        cores = {
            name: used - before.cpu_seconds.get(name, 0.0)
            for name, used in now.cpu_seconds.items()
        }
        recent = sorted(reading.recent_us)
        p99 = f"{recent[int(len(recent) * 0.99)] / 1000:7.1f}" if recent else "      -"
        print(
            f"{self.name:15} {second:4} s  {now.live:6} live"
            f"  {now.written - before.written:6} written/s"
            f"  {now.delivered - before.delivered:8} delivered/s  p99{p99} ms"
            f"  cores: gateways {cores['gateways']:.2f} listeners {cores['listeners']:.2f}"
            f" client {max(v for k, v in cores.items() if k.startswith('client')):.2f}",
            flush=True,
        )

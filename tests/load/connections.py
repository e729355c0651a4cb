"""``make bench-connections``: what idle connections, handshakes and events cost the gateway.

Memory is resident memory, CPU time that of the gateway's process alone. All clients get v1
frames, each for another user, with one project: on WebSockets, then on event streams.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import uvloop

from tests.load.bench import fresh_world, unlimited_gateway
from tests.support.frames import frame
from tests.support.handshakes import UPGRADE
from tests.support.inspection import connections, rss_mib
from tests.support.machine import allow_many_files, own_cpu_seconds
from tests.support.processes import WS_PATH, Part, token
from tests.support.stream_client import SSE_PATH
from tests.support.world import World

FIRST: Final = 200  # connected before anything is measured, so that one-time costs do not count
AT_ONCE: Final = 200
HANG_SECONDS: Final = 300.0
QUIET_SECONDS: Final = 3.0
EVENTS: Final = 10  # to each client
_PING: Final = frame(1, b'{"type":"ping"}')
_SERVER_PING: Final = b"\x89\x00"
_PONG: Final = frame(10, b"")
_EVENT: Final = b'"type":"cache_invalidate"'


class Socket(asyncio.Protocol):
    """A client that keeps the cursors of its greeting."""

    path = WS_PATH
    end_of_frame = b"}"

    def __init__(self, project_id: str, bearer: str) -> None:
        self.project_id = project_id
        self.events = 0
        self._bearer = bearer
        self._transport: asyncio.Transport
        self._received = b""
        self._last_bytes = b""
        self._answered: asyncio.Future[None]
        self.cursors: Sequence[str] = ()

    async def connect(self, port: int, address: str) -> None:
        """Connect, resuming where it was, and wait for the greeting."""
        loop = asyncio.get_running_loop()
        self._received, self._answered = b"", loop.create_future()
        transport, _ = await loop.create_connection(
            lambda: self, "127.0.0.1", port, local_addr=(address, 0)
        )
        self._transport = transport
        since = "".join(f"&since={cursor}" for cursor in self.cursors)
        lines = [
            f"GET {self.path}?project_id={self.project_id}{since} HTTP/1.1",
            "Host: localhost",
            *self._headers(self._bearer),
        ]
        transport.write("\r\n".join([*lines, "", ""]).encode())
        await self._answered

    def _headers(self, bearer: str) -> list[str]:
        protocols = f"Sec-WebSocket-Protocol: neverstale.v1, bearer.{bearer}"
        return [*(f"{name}: {value}" for name, value in UPGRADE.items()), protocols]

    async def ping(self) -> None:
        self._received, self._answered = b"", asyncio.get_running_loop().create_future()
        self._transport.write(_PING)
        await self._answered

    def data_received(self, data: bytes) -> None:
        if data == _SERVER_PING:
            self._transport.write(_PONG)
            return
        if self._answered.done():
            seen = self._last_bytes + data
            self.events += seen.count(_EVENT) - self._last_bytes.count(_EVENT)
            self._last_bytes = seen[1 - len(_EVENT) :]
            return
        self._received += data
        if self._received.endswith(b'{"type":"pong"}'):
            self._answered.set_result(None)
        elif b'"connected"' in self._received and self._received.endswith(self.end_of_frame):
            frame = self._received[self._received.index(b'{"type"') :]
            greeting: dict[str, Any] = json.loads(frame.partition(b"\n")[0])
            is_resumed = len(greeting["resumed"]) == len(greeting["cursors"])
            assert is_resumed or not self.cursors, "the log has not changed"
            self.cursors = list(greeting["cursors"].values())
            self._answered.set_result(None)

    def connection_lost(self, exc: BaseException | None) -> None:
        if not self._answered.done():
            self._answered.set_exception(exc or EOFError("refused"))

    def close(self) -> None:
        self._transport.abort()


class Stream(Socket):
    """The same over server-sent events."""

    path = SSE_PATH
    end_of_frame = b"\n\n"

    def _headers(self, bearer: str) -> list[str]:
        return [f"Authorization: Bearer {bearer}"]

    async def ping(self) -> None:
        """Do nothing: it can send nothing."""


@dataclass
class Findings:
    """CPU in microseconds each, memory in KiB per connection, pauses in ms."""

    kind: str
    count: int
    cpu_us: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    kib: dict[str, float] = field(default_factory=dict)
    pauses_ms: dict[str, list[float]] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [f"{self.count:,} {self.kind}"]
        for name, cpu in self.cpu_us.items():
            rate = f"{1e6 / cpu:,.0f} per CPU second"
            lines.append(f"  {name}: {cpu:.1f} us, {rate} ({self.seconds[name]:.1f} s)")
        lines += [f"  {name}: {kib:.2f} KiB a connection" for name, kib in self.kib.items()]
        for name, pauses in self.pauses_ms.items():
            longest = ", ".join(f"{each:.1f}" for each in sorted(pauses)[-3:])
            lines.append(
                f"  pauses while {name}: {len(pauses)} over 1 ms, longest {longest} ms"
            )
        return "\n".join(lines)


class Measurement:
    """One gateway, and clients that come, stay, leave and come back."""

    def __init__(
        self, world: World, gateway: Part, pauses: Path, kind: str, count: int
    ) -> None:
        self._world = world
        self._gateway = gateway
        self._pauses = pauses
        self._rounds = 0
        self.findings = Findings(kind, count)

    async def run(self, sockets: Sequence[Socket]) -> None:
        first, others = sockets[:FIRST], sockets[FIRST:]
        await self._connect(first, None)
        await asyncio.sleep(QUIET_SECONDS)
        before = rss_mib(self._gateway)

        def measure_memory(name: str) -> None:
            self.findings.kib[name] = 1024 * (rss_mib(self._gateway) - before) / len(others)

        await self._connect(others, "new tokens")
        await asyncio.sleep(QUIET_SECONDS)
        measure_memory("idle")
        await _each(others, lambda socket: socket.ping())
        await asyncio.sleep(QUIET_SECONDS)
        measure_memory("idle, after a ping")
        self._note_pauses("idle")
        for socket in others:
            socket.close()
        async with asyncio.timeout(HANG_SECONDS):
            while await connections(self._world, self._gateway) > len(first):
                await asyncio.sleep(0.1)
        self._note_pauses("leaving")
        await self._connect(others, "known tokens, resumed")
        await asyncio.sleep(QUIET_SECONDS)
        measure_memory("idle, second time")
        await self._deliver(sockets)

    async def _deliver(self, sockets: Sequence[Socket]) -> None:
        """Send events to all, one at a time to each project."""
        assert self._gateway.process is not None
        pid, started = self._gateway.process.pid, time.perf_counter()
        cpu = own_cpu_seconds(pid)
        projects = list({socket.project_id for socket in sockets})
        async with asyncio.timeout(HANG_SECONDS):
            for number in range(1, EVENTS + 1):
                await self._world.database.execute(
                    """
                    select neverstale.notify('task', 'UPDATE', p, $2) from unnest($1::text[]) p
                    """,
                    projects,
                    str(number),
                )
                while any(socket.events < number for socket in sockets):
                    await asyncio.sleep(0.05)
        self.findings.cpu_us["an event to a client"] = (
            1e6 * (own_cpu_seconds(pid) - cpu) / (EVENTS * len(sockets))
        )
        self.findings.seconds["an event to a client"] = time.perf_counter() - started

    async def _connect(self, sockets: Sequence[Socket], name: str | None) -> None:
        assert self._gateway.process is not None
        pid, started = self._gateway.process.pid, time.perf_counter()
        self._rounds += 1
        cpu = own_cpu_seconds(pid)
        address = f"127.0.0.{1 + self._rounds}"  # ports of closed connections are not free yet
        await _each(sockets, lambda socket: socket.connect(self._gateway.port, address))
        if name is not None:
            cpu = own_cpu_seconds(pid) - cpu
            name = f"a handshake with {name}"
            self.findings.cpu_us[name] = 1e6 * cpu / len(sockets)
            self.findings.seconds[name] = time.perf_counter() - started
            self._note_pauses(name)

    def _note_pauses(self, name: str) -> None:
        lines = self._pauses.read_text().splitlines()
        self.findings.pauses_ms[name] = [float(line.split()[1]) for line in lines]
        self._pauses.write_text("")


async def _each(sockets: Sequence[Socket], act: Any) -> None:
    left = list(reversed(sockets))

    async def work() -> None:
        while left:
            await act(left.pop())

    async with asyncio.timeout(HANG_SECONDS), asyncio.TaskGroup() as tasks:
        for _ in range(AT_ONCE):
            tasks.create_task(work())


async def measure(kind: type[Socket], count: int, per_project: int) -> Findings:
    async with fresh_world() as world:
        rows = await world.database.fetch(
            """
            with new_users as (
                insert into users (name) select '' from generate_series(1, $1) returning id
            ), numbered as (
                select id, (row_number() over () - 1) / $2 as number from new_users
            ), new_projects as (
                insert into projects (owner_id, name)
                select (array_agg(id))[1], number::text from numbered group by number
                returning id, name
            )
            select new_projects.id::text as project_id, numbered.id::text as user_id
            from numbered join new_projects on new_projects.name = numbered.number::text
            """,
            count + FIRST,
            per_project,
        )
        await world.database.executemany(
            "insert into project_members values ($1, $2) on conflict do nothing",
            [tuple(row) for row in rows],
        )
        await world.listener()
        with tempfile.TemporaryDirectory() as folder:
            pauses = Path(folder) / "pauses"
            pauses.touch()
            gateway = await _start_gateway(world, pauses)
            pauses.write_text("")  # those of its start disturb no client
            sockets = [kind(row["project_id"], token(row["user_id"])) for row in rows]
            name = "event streams" if kind is Stream else "WebSockets"
            measurement = Measurement(world, gateway, pauses, name, count)
            await measurement.run(sockets)
            for socket in sockets:
                socket.close()
            return measurement.findings


async def _start_gateway(world: World, pauses: Path) -> Part:
    return await unlimited_gateway(
        world, "tests.load.observed_gateway", GC_PAUSES=str(pauses), DRAIN_SECONDS="0"
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench-connections", description=__doc__)
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument("--per-project", type=int, default=5, help="clients of a project")
    arguments = parser.parse_args()
    allow_many_files()
    for kind in (Socket, Stream):
        findings = uvloop.run(measure(kind, arguments.connections, arguments.per_project))
        print(findings, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

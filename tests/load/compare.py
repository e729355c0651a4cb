"""``make bench``: the gateway beside other servers that do this job, as ratios of one run.

Each server in turn gets a core to itself, and does the same work for the same client, a C
program on the other core: frames to many subscribers of one channel, one message at a time
and ten at once; frames to ten subscribers of each of many channels; handshakes; idle
connections. Compared is the CPU time of the server's process, as a ratio to a bare C loop of
``send()`` in the same round.
"""

import argparse
import asyncio
import html
import json
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.load.peers import servers
from tests.load.peers.servers import Server, Unavailable, build

SERVERS: Final[Sequence[type[Server]]] = (
    servers.CLoop,
    servers.Neverstale,
    servers.Nchan,
    servers.NodeWs,
    servers.Aiohttp,
    servers.SocketIo,
)
CLIENT_CORE: Final = 1
AT_ONCE: Final = 50  # handshakes
WAIT_SECONDS: Final = 60
BATCH: Final = 10
IDLE_SECONDS: Final = 0.3


@dataclass(frozen=True)
class Size:
    subscribers: int
    messages: int
    channels: int
    per_channel: int
    rounds: int


@dataclass(frozen=True)
class Figure:
    """What is measured. *base*: the figure of the C loop to which it is a ratio."""

    title: str
    unit: str
    base: str | None = None


# Ten messages that wait are compared with sending each at once.
FIGURES: Final = {
    "single": Figure("one message at a time, many subscribers", "us of CPU/frame", "single"),
    "batch": Figure("ten messages waiting, many subscribers", "us of CPU/frame", "single"),
    "small": Figure("one message at a time, ten subscribers", "us of CPU/frame", "small"),
    "memory": Figure("idle connection", "KiB of RSS"),
    "handshakes": Figure("handshakes of clients seen for the first time", "per CPU second"),
    "returns": Figure("handshakes of clients that return and resume", "per CPU second"),
}


class Client:
    """``client.c``, with the requests of one server."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, program: Path, server: Server, requests: Path) -> "Client":
        process = await asyncio.create_subprocess_exec(
            str(program),
            str(server.port),
            str(requests),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        os.sched_setaffinity(process.pid, {CLIENT_CORE})
        return cls(process)

    async def _ask(self, command: str) -> list[str]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(command.encode() + b"\n")
        async with asyncio.timeout(4 * WAIT_SECONDS):
            return (await self._process.stdout.readline()).decode().split()

    async def open(self, count: int) -> float:
        """Open so many connections. Return the seconds that it took."""
        _, opened, failed, seconds = await self._ask(f"open {count} {AT_ONCE}")
        if int(opened) != count:
            raise Unavailable(f"{failed} of {count} handshakes failed")
        return float(seconds)

    async def wait(self, frames: int) -> None:
        """Wait until so many frames have come in all, and not more: with others among them it
        would return too early.
        """
        _, found, _ = await self._ask(f"wait {frames} {WAIT_SECONDS}")
        if int(found) != frames:
            raise Unavailable(f"{found} frames came instead of {frames}")

    async def close(self) -> None:
        _, ended = await self._ask("close")
        if int(ended):
            raise Unavailable(f"the server closed {ended} connections")

    def end(self) -> None:
        self._process.kill()


def cpu_seconds(pid: int) -> float:
    """The CPU time of all threads of a process, to the microsecond (proc(5), schedstat)."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((one / "schedstat").read_text().split()[0]) for one in threads) / 1e9


async def until_idle(pid: int) -> None:
    """Wait until the server has forgotten the clients that have gone."""
    async with asyncio.timeout(WAIT_SECONDS):
        before = cpu_seconds(pid)
        while True:
            await asyncio.sleep(IDLE_SECONDS)
            now = cpu_seconds(pid)
            if now - before < IDLE_SECONDS / 20:
                return
            before = now


def rss_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


def write_requests(path: Path, server: Server, channels: int, count: int) -> None:
    with path.open("wb") as file:
        for client in range(count):
            channel = client % channels
            request, hello = server.request(channel, client), server.hello(channel, client)
            file.write(f"{len(request)} {len(hello)}\n".encode() + request + hello)


async def measure(server: Server, program: Path, size: Size) -> dict[str, float]:
    """All figures of one round for one server."""
    found: dict[str, float] = {}
    count = size.channels * size.per_channel
    await server.prepare(size.channels, max(count, size.subscribers), size.subscribers)
    with tempfile.TemporaryDirectory() as folder:
        requests = Path(folder) / "requests"
        write_requests(requests, server, size.channels, count)
        await server.settle()
        many = await Client.start(program, server, requests)
        try:
            idle, before = rss_kib(server.pid), cpu_seconds(server.pid)
            await many.open(count)
            await many.wait(expected := count * server.greetings)
            found["handshakes"] = count / (cpu_seconds(server.pid) - before)
            found["memory"] = (rss_kib(server.pid) - idle) / count
            before = cpu_seconds(server.pid)
            for number in range(size.messages):
                await server.publish(number % size.channels, [number])
                await many.wait(expected := expected + size.per_channel)
            frames = size.messages * size.per_channel
            found["small"] = 1e6 * (cpu_seconds(server.pid) - before) / frames
            await many.close()
            await server.settle()
            await until_idle(server.pid)
            before = cpu_seconds(server.pid)
            await many.open(count)
            await many.wait(count * server.greetings)
            found["returns"] = count / (cpu_seconds(server.pid) - before)
            await many.close()
            await until_idle(server.pid)
        finally:
            many.end()
        write_requests(requests, server, 1, size.subscribers)
        await server.settle()
        one = await Client.start(program, server, requests)
        try:
            await one.open(size.subscribers)
            await one.wait(expected := size.subscribers * server.greetings)
            for name, at_once in (("single", 1), ("batch", BATCH)):
                before = cpu_seconds(server.pid)
                for first in range(0, size.messages // 2, at_once):
                    await server.publish(0, range(first, first + at_once))
                    await one.wait(expected := expected + at_once * size.subscribers)
                frames = size.messages // 2 * size.subscribers
                found[name] = 1e6 * (cpu_seconds(server.pid) - before) / frames
            await one.close()
        finally:
            one.end()
    return found


async def compare(chosen: Sequence[type[Server]], size: Size) -> dict[str, Any]:
    """Measure all servers in each round. Servers that can't be measured are skipped."""
    found: dict[str, dict[str, list[float]]] = {}
    versions: dict[str, str] = {}
    skipped: dict[str, str] = {}
    program = build("client")
    try:
        for number in range(1, size.rounds + 1):
            for kind in chosen:
                if kind.name in skipped:
                    continue
                print(f"round {number}: {kind.name}", file=sys.stderr, flush=True)
                try:
                    async with kind.running() as server:
                        versions[kind.name] = server.version()
                        figures = await measure(server, program, size)
                except Unavailable as exc:
                    skipped[kind.name] = str(exc)
                    print(f"skipped: {kind.name}: {exc}", file=sys.stderr, flush=True)
                    continue
                for name, value in figures.items():
                    found.setdefault(kind.name, {}).setdefault(name, []).append(value)
    finally:
        program.unlink()
    return {
        "machine": {
            "cores": os.cpu_count(),
            "kernel": platform.release(),
            "python": platform.python_version(),
        },
        "size": vars(size),
        "versions": versions,
        "skipped": skipped,
        "figures": {name: found[name] for name in found if name not in skipped},
    }


def table(results: dict[str, Any]) -> list[list[str]]:
    """One row for each scenario: the median of the rounds."""
    figures = results["figures"]
    limit = figures.get(servers.CLoop.name)
    rows = [["", *figures]]
    for name, figure in FIGURES.items():
        row = [f"{figure.title}: {figure.unit}"]
        for of in figures.values():
            text = f"{statistics.median(of[name]):,.1f}"
            if figure.base and limit:
                pairs = zip(of[name], limit[figure.base], strict=True)
                ratio = statistics.median(value / one for value, one in pairs)
                text = f"{ratio:.2f} ({text})"
            row.append(text)
        rows.append(row)
    return rows


def as_markdown(results: dict[str, Any]) -> str:
    rows = ["| " + " | ".join(row) + " |" for row in table(results)]
    rows.insert(1, "|" + "---|" * len(table(results)[0]))
    return "\n".join(rows)


def as_html(results: dict[str, Any]) -> str:
    def cells(row: list[str], tag: str) -> str:
        return "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row)

    head, *rows = table(results)
    body = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    about = {key: results[key] for key in ("machine", "size", "versions", "skipped")}
    return (
        "<!doctype html><meta charset=utf-8><title>Neverstale and its peers</title>"
        "<style>body{font:14px/1.5 system-ui;margin:2em}"
        "td,th{padding:.3em .8em;text-align:right}td:first-child{text-align:left}</style>"
        f"<table><tr>{cells(head, 'th')}</tr>{body}</table>"
        f"<pre>{html.escape(json.dumps(about, indent=1))}</pre>"
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    names = [kind.name for kind in SERVERS]
    parser.add_argument("--only", action="append", choices=names, help="these (repeatable)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--subscribers", type=int, default=1000, help="of the one channel")
    parser.add_argument("--channels", type=int, default=1000, help="of ten subscribers each")
    parser.add_argument("--messages", type=int, default=400, help="in each scenario")
    parser.add_argument("--output", type=Path, default=Path(".dev/bench"), help="folder")
    arguments = parser.parse_args()
    if os.cpu_count() == 1:
        parser.error("this needs two cores: one for the server, one for all others")
    size = Size(
        arguments.subscribers, arguments.messages, arguments.channels, 10, arguments.rounds
    )
    chosen = [kind for kind in SERVERS if not arguments.only or kind.name in arguments.only]
    os.sched_setaffinity(0, {CLIENT_CORE})
    results = asyncio.run(compare(chosen, size))
    folder: Path = arguments.output
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bench.json").write_text(json.dumps(results, indent=1))
    (folder / "bench.html").write_text(as_html(results))
    print(as_markdown(results))
    print(f"\nreport: {folder / 'bench.html'}, {folder / 'bench.json'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

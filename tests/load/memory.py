"""``make bench-memory``: memory stays bounded. Prints each part's memory over time, in MiB."""

import argparse
import asyncio
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Final

from tests.load.bench import change, fresh_world, leave_when_live, make_projects
from tests.support.inspection import connections, rss_mib
from tests.support.processes import WS_PATH, token
from tests.support.resuming_client import ResumingClient
from tests.support.world import World

MIB: Final = 1024 * 1024
_LOG_MANY: Final = (
    "select neverstale.notify('task', 'UPDATE', ($1::text[])[1 + n % cardinality($1::text[])],"
    " (n % $3)::text) from generate_series(1, $2::int) as n"
)


class Curve:
    """Samples of several parts over time, printed as they are taken."""

    def __init__(self, *names: str) -> None:
        self._started = time.perf_counter()
        print("| s | " + " | ".join(names) + " |\n|---|" + "---|" * len(names), flush=True)

    def add(self, *values: float) -> None:
        seconds = time.perf_counter() - self._started
        cells = " | ".join(f"{value:,.1f}" for value in values)
        print(f"| {seconds:.0f} | {cells} |", flush=True)


async def redis_away(world: World, seconds: int) -> None:
    """Measure MiB while Redis is down: 1,000 changes/s of 10,000 rows in 20 projects."""
    listener, gateway = await world.listener(), await world.gateway()
    projects = await make_projects(world, 20)
    curve = Curve("listener", "gateway", "change log")

    async def sample() -> None:
        log_bytes = await world.database.fetchval(
            "select pg_total_relation_size('neverstale.change_log')"
        )
        curve.add(rss_mib(listener), rss_mib(gateway), log_bytes / MIB)

    await sample()
    world.servers.valkey.stop()
    started = time.perf_counter()
    for second in range(seconds):
        await world.database.execute(_LOG_MANY, projects, 1000, 10_000)
        if second % max(1, seconds // 10) == 0:
            await sample()
        await asyncio.sleep(max(0, started + second + 1 - time.perf_counter()))
    await sample()
    world.servers.valkey.start()
    await gateway.ready(world.http)
    await change(world.database, projects[0], "last")
    await asyncio.sleep(5)
    await sample()


async def never_reading(world: World, seconds: int) -> None:
    """Measure MiB with 500 clients that never read, up to 1,800 events/s to each."""
    await world.listener()
    gateway = await world.gateway(MAX_SOCKETS_PER_USER="0", MAX_SOCKETS_PER_ADDRESS="0")
    [project_id] = await make_projects(world, 1)
    curve = Curve("gateway", "sockets open")
    with ExitStack() as stack:
        for _ in range(500):
            deaf = stack.enter_context(socket.socket())
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.connect(("127.0.0.1", gateway.port))
            deaf.sendall(handshake(project_id, world.ada))
        for second in range(seconds):
            await world.database.execute(_LOG_MANY, [project_id], 900, 900)
            if second % max(1, seconds // 10) == 0:
                curve.add(rss_mib(gateway), await connections(world, gateway))
            await asyncio.sleep(0.5)
        curve.add(rss_mib(gateway), await connections(world, gateway))


def handshake(project_id: str, user_id: str) -> bytes:
    lines = [
        f"GET {WS_PATH}?project_id={project_id} HTTP/1.1",
        "Host: x",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        f"Authorization: Bearer {token(user_id)}",
    ]
    return "\r\n".join([*lines, "", ""]).encode()


async def reconnecting(world: World, seconds: int) -> None:
    """Measure MiB with one client that reconnects in a tight loop."""
    await world.listener()
    gateway = await world.gateway()
    [project_id] = await make_projects(world, 1)
    client = ResumingClient(world.http, [gateway], project_id, world.ada)
    curve = Curve("gateway", "connections made")
    made, started, next_sample = 0, time.perf_counter(), 0.0
    while (elapsed := time.perf_counter() - started) < seconds:
        if elapsed >= next_sample:
            curve.add(rss_mib(gateway), made)
            next_sample += seconds / 10
        client.live.clear()
        await leave_when_live(client)
        made += 1
    curve.add(rss_mib(gateway), made)


async def channel_logs(world: World, _: int) -> None:
    """Measure Redis's bytes per row with 1,000 channel logs full of a day's distinct rows."""
    await world.listener()
    await world.gateway()
    projects = await make_projects(world, 1000)
    curve = Curve("rows in all logs", "Redis MiB", "bytes a row")
    async with world.redis() as redis:
        before = int((await redis.info("memory"))["used_memory"])
        for number in range(10):
            for start in range(0, 1000, 50):
                await world.database.execute(
                    "select neverstale.notify('task', 'UPDATE', p,"
                    " md5(p || n::text)::uuid::text) from unnest($1::text[]) as p,"
                    " generate_series($2::int, $2 + 99) as n",
                    projects[start : start + 50],
                    number * 100,
                )
                await asyncio.sleep(0.25)
            await asyncio.sleep(1)
            used = int((await redis.info("memory"))["used_memory"]) - before
            rows = 1000 * 100 * (number + 1)
            curve.add(rows, used / MIB, used / rows)


SCENARIOS: Final[dict[str, Callable[[World, int], Awaitable[None]]]] = {
    function.__name__.replace("_", "-"): function
    for function in (redis_away, never_reading, reconnecting, channel_logs)
}


async def play(name: str, seconds: int) -> None:
    async with fresh_world() as world:
        await SCENARIOS[name](world, seconds)


def main() -> int:
    """Run the scenarios and print the curves."""
    parser = argparse.ArgumentParser(prog="make bench-memory", description=__doc__)
    parser.add_argument("only", nargs="*", choices=[*SCENARIOS, []], help="default: all")
    parser.add_argument("--seconds", type=int, default=60, help="of each (default 60)")
    arguments = parser.parse_args()
    for name in arguments.only or SCENARIOS:
        print(f"\n{(SCENARIOS[name].__doc__ or '').strip()}\n", flush=True)
        asyncio.run(play(name, arguments.seconds))
    return 0


if __name__ == "__main__":
    sys.exit(main())

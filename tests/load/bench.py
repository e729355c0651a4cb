"""What the failure benchmarks share: a world, clients and writers."""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp
import asyncpg

from tests.support.processes import Part
from tests.support.resuming_client import ResumingClient
from tests.support.servers import running_servers
from tests.support.world import World, make_world

NOTIFY: Final = "select neverstale.notify('task', 'UPDATE', $1, $2)"
HANG_SECONDS: Final = 60.0


async def change(database: Any, project_id: str, *rows: str) -> None:
    for row in rows:
        await database.execute(NOTIFY, project_id, row)


async def make_projects(world: World, count: int) -> list[str]:
    """Create *number* projects owned by Ada. Return their ids."""
    found = await world.database.fetch(
        "insert into projects (owner_id, name) select $1, '' from generate_series(1, $2)"
        " returning id::text",
        world.ada,
        count,
    )
    return [row["id"] for row in found]


@asynccontextmanager
async def writing(
    world: World, projects: Sequence[str], per_second: float
) -> AsyncIterator[list[int]]:
    """Change rows of all projects in turn. Yields a list that holds the count of changes."""
    connection = await asyncpg.connect(world.database_url)
    count = [0]

    async def write() -> None:
        started = time.perf_counter()
        while True:
            project_id = projects[count[0] % len(projects)]
            await change(connection, project_id, f"r{count[0] % 997}")
            count[0] += 1
            await asyncio.sleep(max(0, started + count[0] / per_second - time.perf_counter()))

    task = asyncio.create_task(write())
    try:
        yield count
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        connection.terminate()


@asynccontextmanager
async def connect_clients(
    world: World, gateways: Sequence[Part], projects: Sequence[str]
) -> AsyncIterator[list[ResumingClient]]:
    """Yield a client for each project, all live."""
    clients = [
        ResumingClient(world.http, gateways, project_id, world.ada) for project_id in projects
    ]
    tasks = [asyncio.create_task(client.run()) for client in clients]
    try:
        async with asyncio.timeout(HANG_SECONDS):
            await asyncio.gather(*(client.live.wait() for client in clients))
        yield clients
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def mark(
    world: World, projects: Sequence[str], clients: Sequence[ResumingClient]
) -> float:
    """Change each project once more. Return the seconds until all clients received it."""
    before = [client.received["mark"] + client.received["*"] for client in clients]
    started = time.perf_counter()
    for project_id in projects:
        await change(world.database, project_id, "mark")
    async with asyncio.timeout(HANG_SECONDS):
        await asyncio.gather(
            *(
                client.until_received("mark", n + 1)
                for client, n in zip(clients, before, strict=True)
            )
        )
    return time.perf_counter() - started


async def leave_when_live(client: ResumingClient) -> None:
    visit = asyncio.create_task(client.visit())
    async with asyncio.timeout(HANG_SECONDS):
        await client.live.wait()
    visit.cancel()
    await asyncio.gather(visit, return_exceptions=True)


def spread_of(times: Sequence[float]) -> str:
    ms = sorted(1000 * value for value in times)
    return f"median {statistics.median(ms):,.0f} ms, max {ms[-1]:,.0f} ms of {len(ms)}"


@asynccontextmanager
async def fresh_world() -> AsyncIterator[World]:
    with running_servers() as servers:
        async with (
            make_world(servers) as world,
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http,
        ):
            world.http = http
            world.more["LOG_LEVEL"] = "error"
            yield world


async def unlimited_gateway(world: World, module: str = "gateway", **more: str) -> Part:
    """Start a gateway without limits on sockets, in a process whose memory is all its own."""
    gateway = await world.gateway(ready=False)
    await gateway.end()
    gateway.module = module
    names = ("MAX_SOCKETS", "MAX_SOCKETS_PER_ADDRESS", "MAX_SOCKETS_PER_USER")
    gateway.environment |= dict.fromkeys(names, "0") | more
    gateway.before = lambda: None  # so it is not forked
    await gateway.start()
    await gateway.ready(world.http)
    return gateway

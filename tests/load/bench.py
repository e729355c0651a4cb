"""What the benches of failures share: a world of their own, pages, and writers."""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp
import asyncpg

from tests.support.processes import Part
from tests.support.resuming_client import Page
from tests.support.servers import running_servers
from tests.support.world import World, make_world

NOTIFY: Final = "select neverstale.notify('task', 'UPDATE', $1, $2)"
HANG_SECONDS: Final = 60.0


async def change(database: Any, project_id: str, *rows: str) -> None:
    for row in rows:
        await database.execute(NOTIFY, project_id, row)


async def make_projects(world: World, count: int) -> list[str]:
    """So many projects of Ada's."""
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
    """Changes of rows of all projects in turn; yields how many there were."""
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
async def open_pages(
    world: World, gateways: Sequence[Part], projects: Sequence[str]
) -> AsyncIterator[list[Page]]:
    """A page for each project, all live."""
    pages = [Page(world.http, gateways, project_id, world.ada) for project_id in projects]
    tasks = [asyncio.create_task(page.run()) for page in pages]
    try:
        async with asyncio.timeout(HANG_SECONDS):
            await asyncio.gather(*(page.live.wait() for page in pages))
        yield pages
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def mark(world: World, projects: Sequence[str], pages: Sequence[Page]) -> float:
    """Seconds until a last change of each project was told to its page, or a reset."""
    before = [page.told["mark"] + page.told["*"] for page in pages]
    started = time.perf_counter()
    for project_id in projects:
        await change(world.database, project_id, "mark")
    async with asyncio.timeout(HANG_SECONDS):
        await asyncio.gather(
            *(page.until_told("mark", n + 1) for page, n in zip(pages, before, strict=True))
        )
    return time.perf_counter() - started


async def leave_when_live(page: Page) -> None:
    visit = asyncio.create_task(page.visit())
    async with asyncio.timeout(HANG_SECONDS):
        await page.live.wait()
    visit.cancel()
    await asyncio.gather(visit, return_exceptions=True)


async def counter(world: World, part: Part, name: str) -> float:
    async with world.http.get(f"{part.url}/metrics") as response:
        lines = (await response.text()).splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))


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

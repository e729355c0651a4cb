"""``make bench-recovery``: what a failure costs clients: resets, and time.

Each scenario has a database, servers, listeners and gateways of its own, and clients that come
back with their cursors. Prints tables; nothing is asserted.
"""

import argparse
import asyncio
import signal
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp
import asyncpg

from shared.core.access_rules import parse_access
from tests.integration.conftest import World, make_world, running_servers
from tests.integration.processes import Part
from tests.load.page import Page

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


async def rolling_restart(world: World) -> str:
    """Both gateways, one after the other, under 200 changes a second in 20 projects."""
    await world.listener()
    gateways = [await world.gateway(), await world.gateway()]
    projects = await make_projects(world, 20)
    async with open_pages(world, gateways, projects) as pages:
        async with writing(world, projects, 200) as count:
            for position in (0, 1):
                await gateways[position].end()
                gateways[position] = await world.gateway()
                await asyncio.sleep(2)
        await mark(world, projects, pages)
        told = sum(page.told.total() for page in pages)
        return f"{count[0]} changes, {told} events, {sum(p.resets for p in pages)} resets"


async def leader_killed(world: World) -> str:
    """kill -9 of the leader under 200 changes a second, five times."""
    listeners = [await world.listener(), await world.listener(role="standby")]
    gateway = await world.gateway()
    projects = await make_projects(world, 20)
    async with open_pages(world, [gateway], projects) as pages:
        async with writing(world, projects, 200) as count:
            for _ in range(5):
                leader = listeners.pop(0)
                await leader.end(signal.SIGKILL)
                listeners.append(await world.listener(role=None))
                await listeners[0].ready(world.http, role="leader")
        await mark(world, projects, pages)
        return f"{count[0]} changes, {sum(page.resets for page in pages)} resets"


async def hot_row(world: World) -> str:
    """One row 100 times a second for a minute, and twenty others, while a client is away."""
    await world.listener()
    gateway = await world.gateway()
    [project_id] = await make_projects(world, 1)
    page = Page(world.http, [gateway], project_id, world.ada)
    await leave_when_live(page)
    started = time.perf_counter()
    for number in range(6000):
        await change(world.database, project_id, "hot")
        if number % 300 == 0:
            await change(world.database, project_id, f"other {number}")
        await asyncio.sleep(max(0, started + number / 100 - time.perf_counter()))
    await change(world.database, project_id, "last")
    visit = asyncio.create_task(page.visit())
    await page.until_told("last")
    visit.cancel()
    others = sum(row.startswith("other") for row in page.told)
    return f"hot row told {page.told['hot']} times, {others} others, {page.resets} resets"


async def leave_when_live(page: Page) -> None:
    visit = asyncio.create_task(page.visit())
    async with asyncio.timeout(HANG_SECONDS):
        await page.live.wait()
    visit.cancel()
    await asyncio.gather(visit, return_exceptions=True)


async def page_loads(world: World) -> str:
    """A page fetches, then connects with its age, while rows change: a thousand times."""
    await world.listener()
    gateway = await world.gateway()
    [project_id] = await make_projects(world, 1)
    await world.database.execute(
        "insert into tasks (project_id, title) select $1, '0' from generate_series(1, 20)",
        project_id,
    )
    await leave_when_live(Page(world.http, [gateway], project_id, world.ada))
    await asyncio.sleep(8)  # until the gateway remembers a tick that is old enough
    writer = await asyncpg.connect(world.database_url)
    stop = asyncio.Event()

    async def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            await writer.execute(
                "update tasks set title = $2 where id = (select id from tasks"
                " where project_id = $1 order by random() limit 1)",
                project_id,
                str(number),
            )
            await asyncio.sleep(0.01)

    writing_task = asyncio.create_task(write())
    loads = resets = stale = 0
    for _ in range(1000):
        loads += 1
        fetched_at = time.perf_counter()
        held = await titles(world, project_id)
        page = Page(world.http, [gateway], project_id, world.ada)
        age_ms = int((time.perf_counter() - fetched_at) * 1000) + 1
        visit = asyncio.create_task(page.visit(age_ms=age_ms))
        await page.live.wait()
        resets += page.came_unresumed
        now = await titles(world, project_id)
        changed = {row for row in now if now[row] != held[row]}
        async with asyncio.timeout(HANG_SECONDS), page.changed:
            await page.changed.wait_for(lambda: changed <= set(page.told))  # noqa: B023
        stale += not changed <= set(page.told)
        visit.cancel()
        await asyncio.gather(visit, return_exceptions=True)
    stop.set()
    await writing_task
    writer.terminate()
    return f"{loads} loads, {resets} resets, {stale} stale"


async def titles(world: World, project_id: str) -> dict[str, str]:
    rows = await world.database.fetch(
        "select id::text, title from tasks where project_id = $1", project_id
    )
    return {row["id"]: row["title"] for row in rows}


async def redis_lost(world: World) -> str:
    """Redis is restarted with all its data lost, under 200 changes a second."""
    await world.listener()
    gateways = [await world.gateway(), await world.gateway()]
    projects = await make_projects(world, 20)
    async with open_pages(world, gateways, projects) as pages:
        async with writing(world, projects, 200):
            world.servers.valkey.stop()  # it keeps nothing
            world.servers.valkey.start()
            await asyncio.sleep(3)
        await mark(world, projects, pages)
        return f"at most {max(page.resets for page in pages)} resets of a client"


async def leader_killed_times(world: World) -> str:
    """From kill -9 of the leader to the next event at a client, 20 times."""

    async def follow(leader: Part) -> Part:
        await leader.exited()
        return await world.listener(role="standby")

    return await _times_of(world, signal.SIGKILL, follow)


async def leader_frozen_times(world: World) -> str:
    """From SIGSTOP of the leader to the next event at a client, 20 times."""

    async def follow(leader: Part) -> Part:
        assert leader.process is not None
        leader.process.send_signal(signal.SIGCONT)
        await leader.ready(world.http, role="standby")
        return leader

    return await _times_of(world, signal.SIGSTOP, follow)


async def _times_of(
    world: World, number: signal.Signals, follow: Callable[[Part], Awaitable[Part]]
) -> str:
    """From this signal to the leader until the next event; *follow* gives the next standby."""
    listeners = [await world.listener(), await world.listener(role="standby")]
    gateway = await world.gateway()
    projects = await make_projects(world, 1)
    times = []
    async with open_pages(world, [gateway], projects) as pages:
        for _ in range(20):
            leader = listeners.pop(0)
            assert leader.process is not None
            leader.process.send_signal(number)
            times.append(await mark(world, projects, pages))
            listeners.append(await follow(leader))
            await listeners[0].ready(world.http, role="leader")
    return spread_of(times)


async def redis_back_times(world: World) -> str:
    """From Redis being back, its data lost, to all of 1,000 clients consistent, 20 times."""
    await world.listener()
    world.more |= {"MAX_SOCKETS_PER_USER": "0", "MAX_SOCKETS_PER_ADDRESS": "0"}
    gateways = [await world.gateway(), await world.gateway()]
    projects = await make_projects(world, 1000)
    times = []
    async with open_pages(world, gateways, projects) as pages:
        for _ in range(20):
            world.servers.valkey.stop()
            await world.database.execute(
                "select neverstale.notify('task', 'UPDATE', p, 'away')"
                " from unnest($1::text[]) as p",
                projects,
            )
            before = [page.told["away"] + page.told["*"] for page in pages]
            world.servers.valkey.start()
            started = time.perf_counter()
            async with asyncio.timeout(HANG_SECONDS):
                await asyncio.gather(
                    *(
                        page.until_told("away", n + 1)
                        for page, n in zip(pages, before, strict=True)
                    )
                )
            times.append(time.perf_counter() - started)
            await asyncio.sleep(2)
    return spread_of(times)


async def resume_storm(world: World) -> str:
    """2,000 clients that resume at once on 50 channels."""
    await world.listener()
    gateway = await world.gateway(MAX_SOCKETS_PER_USER="0", MAX_SOCKETS_PER_ADDRESS="0")
    projects = await make_projects(world, 50)
    pages = [
        Page(world.http, [gateway], projects[number % 50], world.ada) for number in range(2000)
    ]
    for start in range(0, 2000, 100):
        await asyncio.gather(*map(leave_when_live, pages[start : start + 100]))
    for project_id in projects:
        await change(world.database, project_id, "missed")
    before = await counter(world, gateway, "neverstale_log_reads_total")
    started = time.perf_counter()
    visits = [asyncio.create_task(page.visit()) for page in pages]
    async with asyncio.timeout(HANG_SECONDS):
        await asyncio.gather(*(page.until_told("missed") for page in pages))
    seconds = time.perf_counter() - started
    reads = await counter(world, gateway, "neverstale_log_reads_total") - before
    for visit in visits:
        visit.cancel()
    await asyncio.gather(*visits, return_exceptions=True)
    resets = sum(page.resets for page in pages)
    return f"{reads:.0f} log reads, the last after {seconds:.2f} s, {resets} resets"


async def connect_storm(world: World) -> str:
    """2,000 clients of 500 users in 50 projects connect at once; beside it, one query each."""
    await world.listener()
    gateway = await world.gateway(MAX_SOCKETS_PER_ADDRESS="0")
    projects = await make_projects(world, 50)
    users = [f"00000000-0000-4000-8000-{number:012d}" for number in range(500)]
    await world.database.executemany(
        "insert into users (id, name) values ($1, '')", [(user,) for user in users]
    )
    pairs = [(projects[number % 50], users[number // 4]) for number in range(2000)]
    await world.database.executemany(
        "insert into project_members (project_id, user_id) values ($1, $2)"
        " on conflict do nothing",
        pairs,
    )
    pages = [Page(world.http, [gateway], *pair) for pair in pairs]
    before = await counter(world, gateway, "neverstale_access_queries_total")
    started = time.perf_counter()
    visits = [asyncio.create_task(page.visit()) for page in pages]
    async with asyncio.timeout(HANG_SECONDS):
        await asyncio.gather(*(page.live.wait() for page in pages))
    seconds = time.perf_counter() - started
    queries = await counter(world, gateway, "neverstale_access_queries_total") - before
    for visit in visits:
        visit.cancel()
    await asyncio.gather(*visits, return_exceptions=True)
    query = parse_access({"access": {"project_type": "uuid", "user_type": "uuid"}}).query
    started = time.perf_counter()
    for project_id, user_id in pairs:
        await world.database.fetch(query, [project_id], [user_id])
    alone = time.perf_counter() - started
    return (
        f"{queries:.0f} queries, all live after {seconds:.2f} s; "
        f"2000 queries of one pair each take {alone:.2f} s of the database alone"
    )


async def revocation_times(world: World) -> str:
    """From removing a member to their socket's end, on the other gateway, 100 times."""
    await world.listener()
    gateways = [await world.gateway(), await world.gateway()]
    [project_id] = await make_projects(world, 1)
    times = []
    for number in range(100):
        await world.database.execute(
            "insert into project_members (project_id, user_id) values ($1, $2)",
            project_id,
            world.grace,
        )
        page = Page(world.http, [gateways[number % 2]], project_id, world.grace)
        visit = asyncio.create_task(page.visit())
        await page.live.wait()
        started = time.perf_counter()
        await world.database.execute(
            "delete from project_members where project_id = $1", project_id
        )
        await visit
        times.append(time.perf_counter() - started)
    p99 = 1000 * sorted(times)[98]
    return f"{spread_of(times)}, p99 {p99:,.0f} ms"


async def counter(world: World, part: Part, name: str) -> float:
    async with world.http.get(f"{part.url}/metrics") as response:
        lines = (await response.text()).splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))


def spread_of(times: Sequence[float]) -> str:
    ms = sorted(1000 * value for value in times)
    return f"median {statistics.median(ms):,.0f} ms, max {ms[-1]:,.0f} ms of {len(ms)}"


SCENARIOS: Final[dict[str, Callable[[World], Awaitable[str]]]] = {
    function.__name__.replace("_", "-"): function
    for function in (
        rolling_restart,
        leader_killed,
        hot_row,
        page_loads,
        redis_lost,
        leader_killed_times,
        leader_frozen_times,
        redis_back_times,
        resume_storm,
        connect_storm,
        revocation_times,
    )
}


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


async def play(scenario: Callable[[World], Awaitable[str]]) -> str:
    async with fresh_world() as world:
        return await scenario(world)


def main() -> int:
    """Play the scenarios and print the table."""
    parser = argparse.ArgumentParser(prog="make bench-recovery", description=__doc__)
    parser.add_argument("only", nargs="*", choices=[*SCENARIOS, []], help="default: all")
    names = parser.parse_args().only or list(SCENARIOS)
    print("| scenario | what happened |\n|---|---|")
    for name in names:
        print(f"{name} ...", file=sys.stderr, flush=True)
        found = asyncio.run(play(SCENARIOS[name]))
        print(f"| {(SCENARIOS[name].__doc__ or '').strip()} | {found} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

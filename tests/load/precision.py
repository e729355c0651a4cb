"""What failures cost clients in precision: how often they are reset."""

import asyncio
import signal
import time

import asyncpg

from tests.load.bench import (
    HANG_SECONDS,
    change,
    leave_when_live,
    make_projects,
    mark,
    open_pages,
    writing,
)
from tests.support.resuming_client import Page
from tests.support.world import World


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

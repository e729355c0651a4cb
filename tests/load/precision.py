"""How often failures reset clients."""

import asyncio
import signal
import time

import asyncpg

from tests.load.bench import (
    HANG_SECONDS,
    change,
    connect_clients,
    leave_when_live,
    make_projects,
    mark,
    writing,
)
from tests.support.resuming_client import ResumingClient
from tests.support.world import World


async def rolling_restart(world: World) -> str:
    """Restart both gateways, one after the other, under 200 changes/s in 20 projects."""
    await world.listener()
    gateways = [await world.gateway(), await world.gateway()]
    projects = await make_projects(world, 20)
    async with connect_clients(world, gateways, projects) as clients:
        async with writing(world, projects, 200) as count:
            for position in (0, 1):
                await gateways[position].end()
                gateways[position] = await world.gateway()
                await asyncio.sleep(2)
        await mark(world, projects, clients)
        received = sum(client.received.total() for client in clients)
        return f"{count[0]} changes, {received} events, {sum(p.resets for p in clients)} resets"


async def leader_killed(world: World) -> str:
    """Kill (-9) the leader under 200 changes/s, five times."""
    listeners = [await world.listener(), await world.listener(role="standby")]
    gateway = await world.gateway()
    projects = await make_projects(world, 20)
    async with connect_clients(world, [gateway], projects) as clients:
        async with writing(world, projects, 200) as count:
            for _ in range(5):
                leader = listeners.pop(0)
                await leader.end(signal.SIGKILL)
                listeners.append(await world.listener(role=None))
                await listeners[0].ready(world.http, role="leader")
        await mark(world, projects, clients)
        return f"{count[0]} changes, {sum(client.resets for client in clients)} resets"


async def hot_row(world: World) -> str:
    """Change one row 100 times/s for a minute, and twenty others, while a client is offline."""
    await world.listener()
    gateway = await world.gateway()
    [project_id] = await make_projects(world, 1)
    client = ResumingClient(world.http, [gateway], project_id, world.ada)
    await leave_when_live(client)
    started = time.perf_counter()
    for number in range(6000):
        await change(world.database, project_id, "hot")
        if number % 300 == 0:
            await change(world.database, project_id, f"other {number}")
        await asyncio.sleep(max(0, started + number / 100 - time.perf_counter()))
    await change(world.database, project_id, "last")
    visit = asyncio.create_task(client.visit())
    await client.until_received("last")
    visit.cancel()
    others = sum(row.startswith("other") for row in client.received)
    return (
        f"hot row told {client.received['hot']} times, {others} others, {client.resets} resets"
    )


async def page_loads(world: World) -> str:
    """Fetch, then connect with the page's age, while rows change: a thousand times."""
    await world.listener()
    gateway = await world.gateway()
    [project_id] = await make_projects(world, 1)
    await world.database.execute(
        "insert into tasks (project_id, title) select $1, '0' from generate_series(1, 20)",
        project_id,
    )
    await leave_when_live(ResumingClient(world.http, [gateway], project_id, world.ada))
    await asyncio.sleep(8)  # until the gateway has seen a tick that is old enough
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
        client = ResumingClient(world.http, [gateway], project_id, world.ada)
        age_ms = int((time.perf_counter() - fetched_at) * 1000) + 1
        visit = asyncio.create_task(client.visit(age_ms=age_ms))
        await client.live.wait()
        resets += client.came_unresumed
        now = await titles(world, project_id)
        changed = {row for row in now if now[row] != held[row]}
        async with asyncio.timeout(HANG_SECONDS), client.changed:
            await client.changed.wait_for(lambda: changed <= set(client.received))  # noqa: B023
        stale += not changed <= set(client.received)
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
    """Restart Redis with all its data lost, under 200 changes/s."""
    await world.listener()
    gateways = [await world.gateway(), await world.gateway()]
    projects = await make_projects(world, 20)
    async with connect_clients(world, gateways, projects) as clients:
        async with writing(world, projects, 200):
            world.servers.valkey.stop()  # it saves nothing
            world.servers.valkey.start()
            await asyncio.sleep(3)
        await mark(world, projects, clients)
        return f"at most {max(client.resets for client in clients)} resets of a client"

"""How long failures last for clients, and what many of them at once cost."""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable

from shared.config.access_rules import parse_access
from tests.load.bench import (
    HANG_SECONDS,
    change,
    counter,
    leave_when_live,
    make_projects,
    mark,
    open_pages,
    spread_of,
)
from tests.support.processes import Part
from tests.support.resuming_client import Page
from tests.support.world import World


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
    """From removing a member to their socket's end, on either gateway, 100 times."""
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

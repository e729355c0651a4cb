"""How long failures last for clients, and what many simultaneous clients cost."""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable

from shared.config.access_rules import parse_access
from tests.load.bench import (
    HANG_SECONDS,
    change,
    connect_clients,
    leave_when_live,
    make_projects,
    mark,
    spread_of,
)
from tests.support.inspection import metric
from tests.support.processes import Part
from tests.support.resuming_client import ResumingClient
from tests.support.world import World


async def leader_killed_times(world: World) -> str:
    """Measure from kill -9 of the leader to the next event at a client, 20 times."""

    async def follow(leader: Part) -> Part:
        await leader.exited()
        return await world.listener(role="standby")

    return await _times_of(world, signal.SIGKILL, follow)


async def leader_frozen_times(world: World) -> str:
    """Measure from SIGSTOP of the leader to the next event at a client, 20 times."""

    async def follow(leader: Part) -> Part:
        assert leader.process is not None
        leader.process.send_signal(signal.SIGCONT)
        await leader.ready(world.http, role="standby")
        return leader

    return await _times_of(world, signal.SIGSTOP, follow)


async def _times_of(
    world: World, number: signal.Signals, follow: Callable[[Part], Awaitable[Part]]
) -> str:
    """Measure from a signal to the leader to the next event. *follow* starts a standby."""
    listeners = [await world.listener(), await world.listener(role="standby")]
    gateway = await world.gateway()
    projects = await make_projects(world, 1)
    times = []
    async with connect_clients(world, [gateway], projects) as clients:
        for _ in range(20):
            leader = listeners.pop(0)
            assert leader.process is not None
            leader.process.send_signal(number)
            times.append(await mark(world, projects, clients))
            listeners.append(await follow(leader))
            await listeners[0].ready(world.http, role="leader")
    return spread_of(times)


async def redis_back_times(world: World) -> str:
    """Measure from Redis's return without data until 1,000 clients are reset, 20 times."""
    await world.listener()
    world.more |= {"MAX_SOCKETS_PER_USER": "0", "MAX_SOCKETS_PER_ADDRESS": "0"}
    gateways = [await world.gateway(), await world.gateway()]
    projects = await make_projects(world, 1000)
    times = []
    async with connect_clients(world, gateways, projects) as clients:
        for _ in range(20):
            world.servers.valkey.stop()
            await world.database.execute(
                "select neverstale.notify('task', 'UPDATE', p, 'away')"
                " from unnest($1::text[]) as p",
                projects,
            )
            before = [client.received["away"] + client.received["*"] for client in clients]
            world.servers.valkey.start()
            started = time.perf_counter()
            async with asyncio.timeout(HANG_SECONDS):
                await asyncio.gather(
                    *(
                        client.until_received("away", n + 1)
                        for client, n in zip(clients, before, strict=True)
                    )
                )
            times.append(time.perf_counter() - started)
            await asyncio.sleep(2)
    return spread_of(times)


async def resume_storm(world: World) -> str:
    """Let 2,000 clients resume at once on 50 channels."""
    await world.listener()
    gateway = await world.gateway(MAX_SOCKETS_PER_USER="0", MAX_SOCKETS_PER_ADDRESS="0")
    projects = await make_projects(world, 50)
    clients = [
        ResumingClient(world.http, [gateway], projects[number % 50], world.ada)
        for number in range(2000)
    ]
    for start in range(0, 2000, 100):
        await asyncio.gather(*map(leave_when_live, clients[start : start + 100]))
    for project_id in projects:
        await change(world.database, project_id, "missed")
    before = await metric(world, gateway, "neverstale_log_reads_total")
    started = time.perf_counter()
    visits = [asyncio.create_task(client.visit()) for client in clients]
    async with asyncio.timeout(HANG_SECONDS):
        await asyncio.gather(*(client.until_received("missed") for client in clients))
    seconds = time.perf_counter() - started
    reads = await metric(world, gateway, "neverstale_log_reads_total") - before
    for visit in visits:
        visit.cancel()
    await asyncio.gather(*visits, return_exceptions=True)
    resets = sum(client.resets for client in clients)
    return f"{reads:.0f} log reads, the last after {seconds:.2f} s, {resets} resets"


async def connect_storm(world: World) -> str:
    """Let 2,000 clients of 500 users connect at once, compared with one query each."""
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
    clients = [ResumingClient(world.http, [gateway], *pair) for pair in pairs]
    before = await metric(world, gateway, "neverstale_access_queries_total")
    started = time.perf_counter()
    visits = [asyncio.create_task(client.visit()) for client in clients]
    async with asyncio.timeout(HANG_SECONDS):
        await asyncio.gather(*(client.live.wait() for client in clients))
    seconds = time.perf_counter() - started
    queries = await metric(world, gateway, "neverstale_access_queries_total") - before
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
    """Measure from removing a member to the end of their socket, 100 times."""
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
        client = ResumingClient(world.http, [gateways[number % 2]], project_id, world.grace)
        visit = asyncio.create_task(client.visit())
        await client.live.wait()
        started = time.perf_counter()
        await world.database.execute(
            "delete from project_members where project_id = $1", project_id
        )
        await visit
        times.append(time.perf_counter() - started)
    p99 = 1000 * sorted(times)[98]
    return f"{spread_of(times)}, p99 {p99:,.0f} ms"

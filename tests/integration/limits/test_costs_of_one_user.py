"""What one authenticated user does costs a bounded amount, whatever it is."""

import asyncio
import json
import socket
import uuid
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.changes import assert_flows
from tests.support.frames import frame
from tests.support.handshakes import handshake
from tests.support.inspection import metrics_of
from tests.support.processes import HANG_SECONDS, Client, Part, token
from tests.support.v1_client import v1
from tests.support.world import World

MEBIBYTE = 1 << 20


async def value_of(world: World, gateway: Part, metric: str) -> float:
    lines = (await metrics_of(world, gateway)).splitlines()
    [line] = [line for line in lines if line.startswith(f"{metric} ")]
    return float(line.split()[1])


async def projects_of_ada(world: World, number: int) -> list[str]:
    """Further projects of hers."""
    ids = [str(uuid.uuid4()) for _ in range(number)]
    await world.database.executemany(
        "insert into projects (id, name, owner_id) values ($1, 'x', $2)",
        [(id_, world.ada) for id_ in ids],
    )
    return ids


async def subscribe(client: Client, projects: list[str]) -> dict[str, str]:
    """The cursor of each."""
    for project in projects:
        await client.socket.send_json({"type": "subscribe", "project_id": project})
    cursors: dict[str, str] = {}
    while len(cursors) < len(projects):
        told = await client.next()
        if told["type"] == "subscribed":
            cursors[told["project_id"]] = told["cursor"]
    return cursors


async def renew(client: Client, bearers: list[str]) -> None:
    for bearer in bearers:
        await client.socket.send_json({"type": "auth", "token": bearer})
    for _ in bearers:
        await client.until(lambda frame: frame["type"] == "auth_ok")


async def test_renewing_tokens_asks_for_access_once_in_a_while_however_often(
    world: World,
) -> None:
    await world.listener()
    gateway = await world.gateway()
    projects = await projects_of_ada(world, 20)
    asked = "neverstale_access_pairs_total"
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(v1(world, gateway)) for _ in range(10)]
        for client in clients:
            await client.next()
            await subscribe(client, projects)
        before = await value_of(world, gateway, asked)
        await asyncio.gather(*(renew(client, [token(world.ada)] * 20) for client in clients))
        assert await value_of(world, gateway, asked) == before, "the same token is no work"
        began = loop.time()
        fresh = [token(world.ada, exp=3_000_000_000 + number) for number in range(20)]
        await asyncio.gather(*(renew(client, fresh) for client in clients))
        async with asyncio.timeout(HANG_SECONDS):
            while (pairs := await value_of(world, gateway, asked) - before) < len(projects):
                await asyncio.sleep(0.05)
        passes = 2 + (loop.time() - began) / 5
        assert pairs <= passes * len(projects)
        await world.database.execute(
            "update projects set owner_id = $1 where id = $2", world.grace, projects[0]
        )
        for client in clients:
            await client.until(lambda frame: frame["type"] == "unsubscribed")


def resident_bytes(part: Part) -> int:
    assert part.process is not None
    status = Path(f"/proc/{part.process.pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) * 1024


def open_deaf(gateway: Part) -> socket.socket:
    """A v1 client of Ada's that never reads."""
    deaf = socket.socket()
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    deaf.connect(("127.0.0.1", gateway.port))
    plain, as_v1 = b"Authorization: Bearer ", b"Sec-WebSocket-Protocol: neverstale.v1, bearer."
    deaf.sendall(handshake().replace(plain, as_v1))
    return deaf


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
async def test_who_asks_for_everything_and_never_reads_holds_little_memory(
    world: World,
) -> None:
    """A hundred old cursors each, of which each could be answered with 250 rows."""
    number = 8
    await world.listener()
    gateway = await world.gateway()
    projects = await projects_of_ada(world, 99)
    async with v1(world, gateway, world.apollo) as reader, AsyncExitStack() as stack:
        await reader.next()
        cursors = await subscribe(reader, projects)
        await world.database.execute(
            "select neverstale.notify('task', 'UPDATE', p, n::text)"
            " from generate_series(1, 250) as n, unnest($1::text[]) as p",
            projects,
        )
        await world.database.execute(
            "select neverstale.notify('task', 'UPDATE', $1, 'last')", projects[0]
        )
        await reader.until(lambda frame: frame.get("data", {}).get("id") == "last")
        messages = [
            {"type": "subscribe", "project_id": project, "since": cursor}
            for project, cursor in cursors.items()
        ]
        asked = [frame(1, json.dumps(message).encode()) for message in messages]
        before = resident_bytes(gateway)
        for slow in range(1, number + 1):
            deaf = stack.enter_context(open_deaf(gateway))
            await asyncio.to_thread(deaf.sendall, b"".join(asked))
            async with asyncio.timeout(HANG_SECONDS):
                while await value_of(world, gateway, "neverstale_slow_clients") < slow:
                    await asyncio.sleep(0.02)
        await assert_flows(world, reader)
        # 1 MiB each, as documented, and some more for what is transient
        assert resident_bytes(gateway) - before < number * MEBIBYTE + 8 * MEBIBYTE


async def test_who_pings_and_never_reads_is_not_read_any_more(world: World) -> None:
    await world.listener()
    settings: dict[str, Any] = {"MAX_MESSAGES_PER_SECOND": "0"}
    gateway = await world.gateway(**settings)
    async with v1(world, gateway, world.apollo) as other:
        await other.next()
        with open_deaf(gateway) as deaf:
            deaf.settimeout(2)
            pings, sent = frame(9, b"x" * 125) * 500, 0
            try:
                while sent < 16 * MEBIBYTE:
                    sent += await asyncio.to_thread(deaf.send, pings[sent % len(pings) :])
            except TimeoutError:
                pass
            assert sent < 4 * MEBIBYTE
            await assert_flows(world, other)


async def test_a_flood_ends_at_once_and_nobody_else_notices(world: World) -> None:
    await world.listener()
    gateway = await world.gateway()
    async with v1(world, gateway, world.apollo) as other, v1(world, gateway) as flood:
        await other.next()
        await flood.next()
        transport = flood.socket._writer.transport
        assert transport is not None
        transport.write(frame(9, b"") * 100_000)
        assert await flood.closed() == 4429
        await assert_flows(world, other)

"""Several workers behind one port: one gateway for clients, probes and Prometheus."""

import asyncio
import os
import signal
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from deploy.dev.servers import free_port
from gateway.workers.supervisor import STUCK_SECONDS
from shared.protocol.close_codes import CloseCode
from tests.support.changes import change
from tests.support.inspection import connections
from tests.support.processes import HANG_SECONDS, ROOT, Client, Part, eventually
from tests.support.v1_client import notify, v1
from tests.support.world import World

CLIENTS = 24  # all on one worker once in eight million runs


def worker_ids(gateway: Part) -> list[int]:
    """The process ids of all workers ever started, oldest first."""
    return [line["pid"] for line in gateway.lines if line["message"] == "worker started"]


def is_running(process_id: int) -> bool:
    """Whether the process exists, and is not only waiting to be reaped."""
    try:
        status = Path(f"/proc/{process_id}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


async def readiness(world: World, gateway: Part) -> dict[str, Any]:
    async with world.http.get(f"{gateway.url}/readyz") as response:
        body: dict[str, Any] = await response.json()
    return body


async def until_ready(world: World, gateway: Part, count: int) -> None:
    await gateway.ready(world.http, workers={"ready": count, "of": count})


async def clients_of(world: World, gateway: Part, stack: AsyncExitStack) -> list[Client]:
    clients = [
        await stack.enter_async_context(v1(world, gateway, world.apollo))
        for _ in range(CLIENTS)
    ]
    for client in clients:
        assert (await client.next())["type"] == "connected"
    return clients


async def test_all_workers_deliver_and_answer_as_one(world: World) -> None:
    await world.listener()
    gateway = await world.gateway(WORKERS="2")
    await until_ready(world, gateway, 2)
    async with AsyncExitStack() as stack:
        clients = await clients_of(world, gateway, stack)
        assert await connections(world, gateway) == CLIENTS, "summed up"
        await change(world)
        for client in clients:
            assert (await client.next())["resource"] == "task"
    assert not [line for line in gateway.lines if line["logger"] == "aiohttp.access"]


async def test_a_killed_worker_is_replaced_and_its_clients_resume(world: World) -> None:
    await world.listener()
    gateway = await world.gateway(WORKERS="2")
    await until_ready(world, gateway, 2)
    async with AsyncExitStack() as stack:
        clients = await clients_of(world, gateway, stack)
        await notify(world, "before")
        cursors = [(await client.next())["cursor"] for client in clients]
        os.kill(worker_ids(gateway)[0], signal.SIGKILL)
        await notify(world, "while away")
        lost, kept = [], []
        for client, cursor in zip(clients, cursors, strict=True):
            async with asyncio.timeout(HANG_SECONDS):
                message = await client.socket.receive()
            if message.type is aiohttp.WSMsgType.TEXT:
                assert message.json()["data"]["id"] == "while away"
                kept.append(client)
            else:
                lost.append(cursor)
        assert lost, "the kernel spreads connections over both workers"
        assert kept
        for cursor in lost:
            async with v1(world, gateway, world.apollo, since=cursor) as client:
                assert f"project:{world.apollo}" in (await client.next())["resumed"]
                assert (await client.next())["data"]["id"] == "while away"
        await until_ready(world, gateway, 2)
    assert gateway.logged("worker ended: another one takes its place", exit_code=-9)
    assert len(worker_ids(gateway)) == 3


async def test_a_worker_that_stands_still_is_replaced(world: World) -> None:
    await world.listener()
    gateway = await world.gateway(WORKERS="2")
    await until_ready(world, gateway, 2)
    os.kill(worker_ids(gateway)[1], signal.SIGSTOP)
    message = "worker is stuck: killed"
    async with asyncio.timeout(2 * STUCK_SECONDS):
        while not gateway.logged(message, worker=1):
            await asyncio.sleep(0.1)
    await until_ready(world, gateway, 2)


async def test_a_stopped_gateway_drains_all_workers(world: World) -> None:
    await world.listener()
    gateway = await world.gateway(WORKERS="2", DRAIN_SECONDS="1")
    await until_ready(world, gateway, 2)
    async with AsyncExitStack() as stack:
        clients = await clients_of(world, gateway, stack)
        code, *closed = await asyncio.gather(
            gateway.end(), *(client.closed() for client in clients)
        )
        assert code == 0
        assert set(closed) == {CloseCode.DRAINING}
    assert not any(map(is_running, worker_ids(gateway)))


async def test_workers_end_with_a_supervisor_that_is_killed(world: World) -> None:
    await world.listener()
    gateway = await world.gateway(WORKERS="2")
    await until_ready(world, gateway, 2)
    await gateway.end(signal.SIGKILL)
    await eventually(
        lambda: not any(map(is_running, worker_ids(gateway))), "no worker is left behind"
    )


async def test_the_port_of_another_gateway_is_not_shared(world: World) -> None:
    await world.listener()
    first = await world.gateway(WORKERS="2")
    code, _, errors = await world.command("gateway", PORT=str(first.port), WORKERS="2")
    assert code == 1
    assert f"can't listen on port {first.port}" in errors
    assert "set PORT to another" in errors


WORKERS = """
import os, signal, sys
from gateway.workers.supervisor import supervise

def work(worker):
    if worker.number == 0:
        {first}
    signal.sigwait([signal.SIGTERM])
    return 0

signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
sys.exit(supervise(2, "127.0.0.1", {port}, work))
"""


@pytest.mark.parametrize(
    ("first", "code"), [("return 1", 1), ("return 2", 2), ("os.kill(os.getppid(), 15)", 0)]
)
async def test_a_worker_that_says_it_cannot_work_ends_all(first: str, code: int) -> None:
    program = WORKERS.format(first=first, port=free_port())
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, cwd=ROOT)
    async with asyncio.timeout(HANG_SECONDS):
        assert await process.wait() == code

import asyncio
import socket

from tests.support.changes import assert_flows
from tests.support.handshakes import handshake
from tests.support.processes import HANG_SECONDS
from tests.support.world import World

PASSWORD = "a password: with @ and %"


async def test_a_client_that_never_reads_is_closed_and_costs_nobody_an_event(
    world: World,
) -> None:
    await world.listener()
    gateway = await world.gateway(SLOW_CLIENT_SECONDS="1")
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect(("127.0.0.1", gateway.port))
        deaf.sendall(handshake())
        async with world.client(gateway, world.apollo, world.ada) as client:
            for _ in range(25):  # 10 MB, more than the kernel takes for the deaf one
                await world.database.execute(
                    "select neverstale.notify('task', 'UPDATE', $1, n::text)"
                    " from generate_series(1, 900) as n",
                    world.apollo,
                )
                rows: set[str] = set()
                while len(rows) < 900:
                    rows.add((await client.next())["data"]["id"])
            async with asyncio.timeout(HANG_SECONDS):
                while "neverstale_connections 1.0" not in await metrics(world, gateway.url):
                    await asyncio.sleep(0.05)
            await assert_flows(world, client)


async def metrics(world: World, url: str) -> str:
    async with world.http.get(f"{url}/metrics") as response:
        return await response.text()


async def test_a_redis_with_a_password_is_spoken_to_and_never_told_of(own_world: World) -> None:
    world = own_world
    async with world.redis() as redis:
        await redis.config_set("requirepass", PASSWORD)
    address = f"127.0.0.1:{world.servers.valkey.port}"
    right = f"redis://:a%20password%3A%20with%20%40%20and%20%25@{address}"
    await world.listener(REDIS_URL=right)
    gateway = await world.gateway(REDIS_URL=right)
    async with world.client(gateway, world.apollo, world.ada) as client:
        await assert_flows(world, client)
    wrong = await world.gateway(ready=False, REDIS_URL=f"redis://user:wrong-secret@{address}")
    await wrong.ready(world.http, status=503, redis=False)
    async with asyncio.timeout(HANG_SECONDS):
        while not wrong.logged("redis lost"):
            await asyncio.sleep(0.01)
    [reason, *_] = [line["reason"] for line in wrong.lines if line["message"] == "redis lost"]
    assert "WRONGPASS" in reason
    assert not any("secret" in line or PASSWORD in line for line in wrong.raw_lines)

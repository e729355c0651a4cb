"""Whatever a rogue client sends, the others miss nothing and nothing of it is left behind.

``ROGUE_SECONDS`` and ``ROGUE_SEED`` make it longer, and repeat a run.
"""

import asyncio
import os
import random
from collections import Counter
from typing import Any, Final

from tests.integration.http.malformed_client import Rogue
from tests.support.inspection import connections, open_files
from tests.support.processes import HANG_SECONDS, Client
from tests.support.v1_client import notify
from tests.support.world import World

SECONDS: Final = float(os.environ.get("ROGUE_SECONDS", "4"))
SEED: Final = int(os.environ.get("ROGUE_SEED", random.randrange(2**32)))
ROGUES: Final = 8
STATUSES: Final = {101, 400, 401, 403, 404, 405, 426, 429}
CLOSE_CODES: Final = {1000, 1002, 1003, 1007, 1009, 4400, 4401, 4403, 4429}


async def hear(client: Client, last: str) -> list[str]:
    frames = await client.until(lambda frame: frame.get("data", {}).get("id") == last)
    return [frame["data"]["id"] for frame in frames]


async def test_a_rogue_client_harms_nobody_and_leaves_nothing(world: World) -> None:
    await world.listener()
    more: dict[str, Any] = {"HANDSHAKE_SECONDS": "1", "MAX_SOCKETS_PER_USER": "0"}
    gateway = await world.gateway(**more)
    projects = [world.apollo, world.gemini]
    rogues = [Rogue(gateway, world.grace, projects, SEED + number) for number in range(ROGUES)]
    told: list[str] = []

    async def write() -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + SECONDS
        while loop.time() < deadline:
            told.append(f"row {len(told)}")
            await notify(world, told[-1])
            await asyncio.sleep(0.01)
        await notify(world, "last")

    async with (
        world.client(gateway, world.apollo, world.ada) as plain,
        world.client(gateway, world.apollo, world.ada, v1=True) as v1,
    ):
        files = open_files(gateway)
        async with asyncio.TaskGroup() as tasks:
            heard = [tasks.create_task(hear(client, "last")) for client in (plain, v1)]
            tasks.create_task(write())
            for rogue in rogues:
                tasks.create_task(rogue.run(SECONDS))
        for hearing in heard:
            assert hearing.result() == [*told, "last"], f"seed {SEED}"
        async with asyncio.timeout(HANG_SECONDS):
            # the pool to PostgreSQL may have one more connection than before
            while await connections(world, gateway) != 2 or open_files(gateway) > files + 2:
                await asyncio.sleep(0.05)
        await notify(world, "after")
        assert (await hear(plain, "after"), await hear(v1, "after")) == (["after"], ["after"])
    statuses = sum((rogue.statuses for rogue in rogues), Counter[int]())
    close_codes = sum((rogue.close_codes for rogue in rogues), Counter[int]())
    assert [fault for rogue in rogues for fault in rogue.faults] == [], f"seed {SEED}"
    assert statuses.keys() <= STATUSES, f"seed {SEED}"
    assert close_codes.keys() <= CLOSE_CODES, f"seed {SEED}"
    assert statuses[101] > 10, "it came in"
    assert len(close_codes) > 3, "and was thrown out"
    assert not gateway.logged("request failed")

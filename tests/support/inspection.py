"""What a running stack shows: metrics, its state in Redis, log lines, memory and open files."""

import asyncio
from pathlib import Path

from tests.support.processes import HANG_SECONDS, Part
from tests.support.world import World


async def metrics_of(world: World, gateway: Part) -> str:
    async with world.http.get(f"{gateway.url}/metrics") as response:
        return await response.text()


async def metric(world: World, part: Part, name: str) -> float:
    """Return the value of a metric without labels."""
    for line in (await metrics_of(world, part)).splitlines():
        if line.startswith(f"{name} "):
            return float(line.split()[1])
    raise AssertionError(name)


async def connections(world: World, gateway: Part) -> float:
    return await metric(world, gateway, "neverstale_connections")


async def state(world: World, field: str) -> str:
    async with world.redis() as redis:
        value = await redis.hget(f"{world.prefix}neverstale:state", field)
    return value.decode() if isinstance(value, bytes) else ""


async def until_state(world: World, field: str, value: str) -> None:
    async with asyncio.timeout(HANG_SECONDS):
        while await state(world, field) != value:
            await asyncio.sleep(0.02)


def resets(part: Part) -> int:
    return sum(line["message"] == "reset" for line in part.lines)


def peak_bytes(part: Part) -> int:
    """Return the process's peak resident memory."""
    assert part.process is not None
    status = Path(f"/proc/{part.process.pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


def rss_mib(part: Part) -> float:
    assert part.process is not None
    status = Path(f"/proc/{part.process.pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def open_files(part: Part) -> int:
    """Return the number of open descriptors; 0 where /proc does not exist."""
    assert part.process is not None
    folder = Path(f"/proc/{part.process.pid}/fd")
    return len(list(folder.iterdir())) if folder.exists() else 0

"""The stack of a soak: the oracle's, with proxied links, and what its processes hold."""

import asyncio
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
import asyncpg
import redis.asyncio
from prometheus_client.parser import text_string_to_metric_families
from redis.exceptions import RedisError

from tests.chaos.kinds import GATEWAYS
from tests.chaos.stack import LISTENERS, ProxiedStack
from tests.chaos.supervised_process import Launcher
from tests.support.database import GONE
from tests.support.machine import resident_kib

ANSWER_SECONDS: Final = 5.0
MIB: Final = 2**20
_LOG: Final = """
select (select count(*) from neverstale.change_log),
       pg_total_relation_size('neverstale.change_log')
"""


def launchers(folder: Path) -> dict[str, Launcher]:
    """Return what starts each part so that it notes its tasks in a file of this folder."""
    return {
        name: Launcher(
            (sys.executable, "-m", "tests.soak.observed", str(_tasks_file(folder, name)))
        )
        for name in (*LISTENERS, *GATEWAYS)
    }


def _tasks_file(folder: Path, name: str) -> Path:
    return folder / f"{name}.tasks"


@dataclass
class SoakedStack:
    """Processes that are measured while faults happen to them."""

    stack: ProxiedStack
    folder: Path
    series: dict[str, list[tuple[float, float]]] = field(default_factory=dict)

    def check(self) -> None:
        """Do nothing: parts that end are started again, and that is judged at the end."""

    def pids(self) -> dict[str, list[int]]:
        """Return the processes by their role."""
        servers = {"postgres": [self.stack.postgres], "valkey": self.stack.redis_servers}
        return {
            "gateways": self._pids_of(GATEWAYS),
            "listeners": self._pids_of(LISTENERS),
            **{
                role: [server.process.pid for server in running if server.process]
                for role, running in servers.items()
            },
        }

    def _pids_of(self, names: Sequence[str]) -> list[int]:
        pids = (self.stack.parts[name].pid for name in names)
        return [pid for pid in pids if pid is not None]

    async def sample_every(self, seconds: float) -> None:
        """Take samples until cancelled. What does not answer during a fault is left out."""
        while True:
            at = self.stack.timeline.now()
            for series, value in (await self.read()).items():
                self.series.setdefault(series, []).append((at, value))
            await asyncio.sleep(seconds)

    async def read(self) -> dict[str, float]:
        """Return what all processes hold now, by the name of the series."""
        found: dict[str, float] = {}
        for name in (*LISTENERS, *GATEWAYS):
            found |= self._read_process(name)
        with suppress(*GONE, asyncpg.PostgresError):
            found |= await self._read_log()
        with suppress(RedisError, OSError, TimeoutError):
            async with asyncio.timeout(ANSWER_SECONDS):
                found |= await self._read_redis()
        for name in GATEWAYS:
            with suppress(aiohttp.ClientError, OSError, TimeoutError):
                found |= await self._read_gateway(name)
        return found

    def _read_process(self, name: str) -> dict[str, float]:
        pid = self.stack.parts[name].pid
        if pid is None:
            return {}
        with suppress(FileNotFoundError, ProcessLookupError):
            return {
                f"{name} memory": resident_kib(pid) / 1024,
                f"{name} descriptors": len(list(Path(f"/proc/{pid}/fd").iterdir())),
                f"{name} tasks": int(_tasks_file(self.folder, name).read_text()),
            }
        return {}

    async def _read_log(self) -> dict[str, float]:
        async with asyncio.timeout(ANSWER_SECONDS):
            database = await asyncpg.connect(self.stack.database_url)
            try:
                rows, size_bytes = await database.fetchrow(_LOG) or (0, 0)
            finally:
                database.terminate()
        return {"change log rows": rows, "change log size": size_bytes / MIB}

    async def _read_redis(self) -> dict[str, float]:
        async with redis.asyncio.Redis.from_url(self.stack.redis.url) as client:
            memory = await client.info("memory")
            channels = await client.pubsub_channels()
            counts: Any = await client.pubsub_numsub(*channels) if channels else ()
        return {
            "Redis size": memory["used_memory"] / MIB,
            "Redis subscriptions": sum(count for _, count in counts),
        }

    async def _read_gateway(self, name: str) -> dict[str, float]:
        url = f"http://127.0.0.1:{self.stack.parts[name].port}/metrics"
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
        async with self.stack.http.get(url, timeout=timeout) as answer:
            families = text_string_to_metric_families(await answer.text())
            values = {each.name: each.value for family in families for each in family.samples}
        return {
            f"{name} {what}": values[f"neverstale_{what}"]
            for what in ("connections", "channels")
        }

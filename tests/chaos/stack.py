"""A stack for one scenario, in which every link between two parts is a proxy."""

import asyncio
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import aiohttp
import asyncpg

from deploy.dev.servers import PostgresServer, ValkeyServer
from tests.chaos.kinds import GATEWAYS
from tests.chaos.supervised_process import Launcher, SupervisedProcess
from tests.chaos.timeline import Timeline
from tests.support.processes import ROOT, SECRET
from tests.support.redis_cluster import RedisCluster
from tests.support.tcp_proxy import Proxy
from tests.support.world import install_config

# How a session of the app's own ends; asyncpg is left in a bad state by a cancelled query.
LISTENERS: Final = ("listener1", "listener2")
ASK_SECONDS: Final = 1.0
READY_SECONDS: Final = 90.0  # only to catch hangs
_SCHEMA: Final = (ROOT / "demo" / "schema.sql").read_text()


@dataclass
class ProxiedStack:
    """Servers, parts and proxied links. ``broken`` lists parts that exited unexpectedly."""

    folder: Path
    postgres: PostgresServer
    redis: ValkeyServer | RedisCluster
    http: aiohttp.ClientSession
    tasks: asyncio.TaskGroup
    timeline: Timeline
    launchers: Mapping[str, Launcher]
    parts: dict[str, SupervisedProcess] = field(default_factory=dict)
    links: dict[str, Proxy] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)

    @property
    def database_url(self) -> str:
        """The app's own URL of the database; no fault cuts this link."""
        return self.postgres.url

    async def build(self, settings: Mapping[str, str]) -> None:
        """Install, and start all parts with their links."""
        database = await asyncpg.connect(self.database_url)
        await database.execute(_SCHEMA)
        await install_config(database, ROOT / "invalidation.toml")
        await database.close()
        for name in (*LISTENERS, *GATEWAYS):
            await self._add(name, settings)
        self.tasks.create_task(self._supervise())

    async def _add(self, name: str, settings: Mapping[str, str]) -> None:
        if isinstance(self.redis, RedisCluster):
            redis = {"REDIS_URL": self.redis.url, "REDIS_CLUSTER": "true"}
        else:
            link = await self._link(f"{name}->redis", self.redis.port)
            redis = {"REDIS_URL": f"redis://127.0.0.1:{link.port}"}
        postgresql = await self._link(f"{name}->postgresql", self.postgres.port)
        if name in GATEWAYS:
            await self._link(f"clients->{name}", 0)
        environment = {
            "DATABASE_URL": f"postgresql://postgres@127.0.0.1:{postgresql.port}/postgres",
            **redis,
            "JWT_SECRET": SECRET,
            "LOG_FORMAT": "json",
            "HOST": "127.0.0.1",
            "DRAIN_SECONDS": "1",
            **settings,
        }
        self.parts[name] = SupervisedProcess(
            name, environment, self.folder, self.launchers.get(name)
        )
        await self.start_part(name)

    @property
    def redis_servers(self) -> Sequence[ValkeyServer]:
        return self.redis.nodes if isinstance(self.redis, RedisCluster) else [self.redis]

    async def start_part(self, name: str) -> None:
        """Start a part, again or for the first time."""
        await self.parts[name].start()
        if name in GATEWAYS:
            self.links[f"clients->{name}"].target_ports = [self.parts[name].port]

    async def _link(self, name: str, target_port: int) -> Proxy:
        self.links[name] = Proxy(target_port)
        await self.links[name].start()
        return self.links[name]

    async def ready(self) -> None:
        """Return when all parts are ready."""
        async with asyncio.timeout(READY_SECONDS):
            for part in self.parts.values():
                while not (await self._readiness(part)).get("ready"):
                    await asyncio.sleep(0.05)

    async def up(self, part: SupervisedProcess) -> None:
        """Return when a part answers HTTP: before that it has no signal handlers."""
        async with asyncio.timeout(READY_SECONDS):
            while not await self._readiness(part):
                await asyncio.sleep(0.05)

    async def find(self, role: str) -> str:
        """Return the name of the listener in this role; the first or second if unclear."""
        for name in LISTENERS:
            if (await self._readiness(self.parts[name])).get("role") == role:
                return name
        return LISTENERS[role == "standby"]

    async def _readiness(self, part: SupervisedProcess) -> dict[str, object]:
        timeout = aiohttp.ClientTimeout(total=ASK_SECONDS)
        try:
            url = f"http://127.0.0.1:{part.port}/readyz"
            async with self.http.get(url, timeout=timeout) as answer:
                told: dict[str, object] = await answer.json()
                return {**told, "ready": answer.status == 200}
        except (aiohttp.ClientError, TimeoutError):
            return {}

    async def _supervise(self) -> None:
        """Restart parts that exited by themselves, as a supervisor would, and record it."""
        while True:
            await asyncio.sleep(0.2)
            for name, part in self.parts.items():
                if part.wanted and part.exit_code is not None:
                    told = f"{name} exited by itself with {part.exit_code}"
                    self.timeline.note(name, told)
                    if not part.has_found_its_port_taken():
                        self.broken.append(told)
                    await self.start_part(name)

    def tracebacks(self) -> list[str]:
        """Return a problem for each part whose log has a traceback."""
        return [
            f"{name} logged a traceback"
            for name, part in self.parts.items()
            if "Traceback" in part.log.read_text(errors="replace")
        ]

    def logs(self) -> dict[str, str]:
        """Return the logs of parts and servers by name."""
        files = [*self.folder.glob("*.log")]
        return {file.stem: file.read_text(errors="replace") for file in sorted(files)}

    async def stop(self) -> None:
        for part in self.parts.values():
            part.wanted = False
            part.thaw()
        for part in self.parts.values():
            await part.end(signal.SIGKILL)
        for link in self.links.values():
            await link.close()


@asynccontextmanager
async def running_stack(
    timeline: Timeline,
    tasks: asyncio.TaskGroup,
    settings: Mapping[str, str] | None = None,
    launchers: Mapping[str, Launcher] | None = None,
    *,
    is_cluster: bool = False,
) -> AsyncIterator[ProxiedStack]:
    """Yield a started stack. *launchers*: of the parts that are not started as usual."""
    # as root, PostgreSQL runs as another user, who must be able to enter its folder
    with tempfile.TemporaryDirectory(prefix="neverstale-chaos-") as name:
        folder = Path(name)
        os.chmod(name, 0o755)
        postgres = PostgresServer(folder / "postgres")
        redis = RedisCluster(folder) if is_cluster else ValkeyServer(folder / "valkey")
        async with aiohttp.ClientSession() as http:
            stack = ProxiedStack(
                folder, postgres, redis, http, tasks, timeline, launchers or {}
            )
            try:
                postgres.start()
                if isinstance(redis, RedisCluster):
                    await redis.start()
                else:
                    redis.start()
                await stack.build(settings or {})
                yield stack
            finally:
                await stack.stop()
                for server in (postgres, *stack.redis_servers):
                    with suppress(ProcessLookupError):
                        server.thaw()
                    server.kill()

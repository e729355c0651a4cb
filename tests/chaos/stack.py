"""A whole stack of its own for one scenario; every link between two parts is a proxy."""

import asyncio
import os
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import aiohttp
import asyncpg

from deploy.dev.servers import PostgresServer, ValkeyServer
from listener.setup.install import Config, install
from shared.config.config_file import read_config
from tests.chaos.kinds import GATEWAYS
from tests.chaos.parts import ROOT, Part
from tests.chaos.timeline import Timeline
from tests.support.tcp_proxy import Proxy

# How a session of the app's own ends; asyncpg is left in a bad state by a cancelled query.
SECRET: Final = "a secret for tests that is long enough"
LISTENERS: Final = ("listener1", "listener2")
ASK_SECONDS: Final = 1.0
READY_SECONDS: Final = 30.0
_SCHEMA: Final = (ROOT / "demo" / "schema.sql").read_text()


@dataclass
class Stack:
    """``broken`` tells of parts that ended by themselves."""

    folder: Path
    postgres: PostgresServer
    valkey: ValkeyServer
    http: aiohttp.ClientSession
    tasks: asyncio.TaskGroup
    timeline: Timeline
    skew_seconds: float
    parts: dict[str, Part] = field(default_factory=dict)
    links: dict[str, Proxy] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)

    @property
    def database_url(self) -> str:
        """The app's own way to the database; no fault cuts it."""
        return self.postgres.url

    async def build(self, **settings: str) -> None:
        """Install, and start all parts with their links."""
        database = await asyncpg.connect(self.database_url)
        await database.execute(_SCHEMA)
        document = read_config(ROOT / "invalidation.toml")
        await install(database, Config.parse(document, log_max_bytes=2**30))
        await database.close()
        for name in (*LISTENERS, *GATEWAYS):
            await self._add(name, settings)
        self.tasks.create_task(self._supervise())

    async def _add(self, name: str, settings: dict[str, str]) -> None:
        redis = await self._link(f"{name}->redis", self.valkey.port)
        postgresql = await self._link(f"{name}->postgresql", self.postgres.port)
        if name in GATEWAYS:
            await self._link(f"clients->{name}", 0)
        environment = {
            "DATABASE_URL": f"postgresql://postgres@127.0.0.1:{postgresql.port}/postgres",
            "REDIS_URL": f"redis://127.0.0.1:{redis.port}",
            "JWT_SECRET": SECRET,
            "LOG_FORMAT": "json",
            "HOST": "127.0.0.1",
            "DRAIN_SECONDS": "1",
            **settings,
        }
        skew_seconds = self.skew_seconds if name == GATEWAYS[-1] else 0.0
        self.parts[name] = Part(name, environment, self.folder, skew_seconds=skew_seconds)
        self.start_part(name)

    def start_part(self, name: str) -> None:
        """Start it, again or for the first time."""
        self.parts[name].start()
        if name in GATEWAYS:
            self.links[f"clients->{name}"].target_ports = [self.parts[name].port]

    async def _link(self, name: str, target_port: int) -> Proxy:
        self.links[name] = Proxy(target_port)
        await self.links[name].start()
        return self.links[name]

    async def ready(self) -> None:
        """Return when all parts are."""
        async with asyncio.timeout(READY_SECONDS):
            for part in self.parts.values():
                while not (await self._readiness(part)).get("ready"):
                    await asyncio.sleep(0.05)

    async def up(self, part: Part) -> None:
        """Return when it answers anything: before that it knows no signal."""
        async with asyncio.timeout(READY_SECONDS):
            while not await self._readiness(part):
                await asyncio.sleep(0.05)

    async def find(self, role: str) -> str:
        """The name of the listener that leads, or stands by; the first or second if unclear."""
        for name in LISTENERS:
            if (await self._readiness(self.parts[name])).get("role") == role:
                return name
        return LISTENERS[role == "standby"]

    async def _readiness(self, part: Part) -> dict[str, object]:
        timeout = aiohttp.ClientTimeout(total=ASK_SECONDS)
        try:
            url = f"http://127.0.0.1:{part.port}/readyz"
            async with self.http.get(url, timeout=timeout) as answer:
                told: dict[str, object] = await answer.json()
                return {**told, "ready": answer.status == 200}
        except (aiohttp.ClientError, TimeoutError):
            return {}

    async def _supervise(self) -> None:
        """Start again what ended by itself, as anybody's supervisor would, and tell of it."""
        while True:
            await asyncio.sleep(0.2)
            for name, part in self.parts.items():
                if part.wanted and part.exit_code is not None:
                    told = f"{name} ended by itself with {part.exit_code}"
                    self.timeline.note(name, told)
                    if not part.has_found_its_port_taken():
                        self.broken.append(told)
                    self.start_part(name)

    def tracebacks(self) -> list[str]:
        """Parts whose log has a traceback."""
        return [
            f"{name} logged a traceback"
            for name, part in self.parts.items()
            if "Traceback" in part.log.read_text(errors="replace")
        ]

    def logs(self) -> dict[str, str]:
        """What the parts and servers wrote."""
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
    *,
    skew_seconds: float = 0.0,
    **settings: str,
) -> AsyncIterator[Stack]:
    """A stack whose parts have been started; the last gateway's clock is so much ahead."""
    # as root, PostgreSQL runs as another user, who has to get at its folder
    with tempfile.TemporaryDirectory(prefix="neverstale-chaos-") as name:
        folder = Path(name)
        os.chmod(name, 0o755)
        postgres = PostgresServer(folder / "postgres")
        valkey = ValkeyServer(folder / "valkey")
        async with aiohttp.ClientSession() as http:
            stack = Stack(folder, postgres, valkey, http, tasks, timeline, skew_seconds)
            try:
                postgres.start()
                valkey.start()
                await stack.build(**settings)
                yield stack
            finally:
                await stack.stop()
                for server in (postgres, valkey):
                    with suppress(ProcessLookupError):
                        server.thaw()
                    server.kill()

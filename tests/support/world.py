"""A database for one test on running servers, with the demo's schema and our triggers."""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import asyncpg
import redis.asyncio

from deploy.dev.servers import free_port
from listener.setup.install import Config, install
from shared.config.config_file import read_config
from tests.support.database import Database
from tests.support.demo_data import ADA, APOLLO, GEMINI, GRACE
from tests.support.preforked import start_program
from tests.support.processes import ROOT, SECRET, Client, Part, connected
from tests.support.servers import Servers


@dataclass
class World:
    """One test's database and Redis prefix, with methods that run our programs on them."""

    servers: Servers
    database_url: str
    prefix: str
    http: aiohttp.ClientSession
    database: Database
    parts: list[Part]
    more: dict[str, str]  # settings of this test
    ada: str
    grace: str
    apollo: str
    gemini: str

    def environment(self, **more: str) -> dict[str, str]:
        return {
            "DATABASE_URL": self.database_url,
            "REDIS_URL": self.servers.valkey.url,
            "REDIS_PREFIX": self.prefix,
            "JWT_SECRET": SECRET,
            "LOG_FORMAT": "json",
            "HOST": "127.0.0.1",
            **self.more,
            **more,
        }

    async def listener(self, *, role: str | None = "leader", **more: str) -> Part:
        port = free_port()
        part = Part("listener", self.environment(HEALTH_PORT=str(port), **more), port)
        self.parts.append(part)
        await part.start()
        if role is not None:
            await part.ready(self.http, role=role)
        return part

    async def gateway(self, *, ready: bool = True, **more: str) -> Part:
        port = free_port()
        part = Part("gateway", self.environment(PORT=str(port), **more), port)
        self.parts.append(part)
        await part.start()
        if ready:
            await part.ready(self.http)
        return part

    @asynccontextmanager
    async def client(
        self, gateway: Part, project_id: str, user_id: str, *, v1: bool = False
    ) -> AsyncIterator[Client]:
        """Yield a client that has read its greeting."""
        async with connected(self.http, gateway, project_id, user_id, v1=v1) as client:
            greeting = await client.next()
            assert greeting["type"] == ("connected" if v1 else "reconnect")
            yield client

    def redis(self) -> "redis.asyncio.Redis":
        return redis.asyncio.Redis.from_url(self.servers.valkey.url)

    async def command(self, *words: str, **more: str) -> tuple[int, str, str]:
        """Run one of our programs. Return its exit code, standard output and standard error."""
        process = await start_program(
            *words, cwd=ROOT, env={**os.environ, **self.environment(**more)}
        )
        output, errors = await process.communicate()
        return process.returncode or 0, output.decode(), errors.decode()

    async def install(self) -> int:
        return (await self.command("listener", "install"))[0]

    async def reconnect_database(self) -> None:
        await self.database.close(timeout=1) if not self.database.is_closed() else None
        self.database = await asyncpg.connect(self.database_url)


async def install_config(database: Database, path: Path) -> None:
    """Install the triggers of a config file, as ``listener install`` does."""
    await install(database, Config.parse(read_config(path), log_max_bytes=2**30))


@asynccontextmanager
async def make_world(servers: Servers) -> AsyncIterator[World]:
    """Yield a new world. At its end all parts are stopped and their logs are checked."""
    name = f"test_{secrets.token_hex(4)}"
    admin = await asyncpg.connect(servers.postgres.url)
    await admin.execute(f"create database {name}")
    await admin.close()
    url = servers.postgres.database_url(name)
    database = await asyncpg.connect(url)
    for script in ("schema.sql", "data.sql"):
        await database.execute((ROOT / "demo" / script).read_text())
    await install_config(database, ROOT / "invalidation.toml")
    async with aiohttp.ClientSession() as http:
        world = World(
            servers,
            url,
            f"{name}:",
            http,
            database,
            [],
            {},
            ada=ADA,
            grace=GRACE,
            apollo=APOLLO,
            gemini=GEMINI,
        )
        try:
            yield world
        finally:
            async with asyncio.TaskGroup() as ending:
                for part in world.parts:
                    ending.create_task(part.end())
            world.database.terminate()
    for part in world.parts:
        told = "".join(part.raw_lines)
        assert "Traceback" not in told, told
        assert SECRET not in told
        assert "eyJ" not in told, "a token was logged"

"""Real servers, started once for the session.

Each test has a database and a Redis prefix of its own.
"""

import asyncio
import os
import secrets
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import aiohttp
import asyncpg
import pytest
import redis.asyncio

from deploy.dev.servers import PostgresServer, ValkeyServer, free_port
from listener.core.watches import parse_watches
from listener.install import install
from shared.config_file import read_config
from tests.integration.processes import ROOT, SECRET, Client, Part, connected

Database: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


@dataclass
class Servers:
    postgres: PostgresServer
    valkey: ValkeyServer

    def stop(self) -> None:
        self.postgres.stop()
        self.valkey.stop()


def _started(folder: Path) -> Servers:
    for path in (folder, folder.parent, folder.parent.parent):
        path.chmod(0o755)  # as root, PostgreSQL runs as another user
    servers = Servers(PostgresServer(folder / "postgres"), ValkeyServer(folder / "valkey"))
    servers.postgres.start()
    servers.valkey.start()
    return servers


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Shared by all tests that do not harm them."""
    started = _started(tmp_path_factory.mktemp("shared"))
    yield started
    started.stop()


@pytest.fixture
def own_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """For a test that kills them."""
    started = _started(tmp_path_factory.mktemp("own"))
    yield started
    started.stop()


@dataclass
class World:
    """A database with the demo schema and our triggers, and how to run parts on it."""

    servers: Servers
    database_url: str
    prefix: str
    http: aiohttp.ClientSession
    database: Database
    parts: list[Part]
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
        """A client that has been greeted."""
        async with connected(self.http, gateway, project_id, user_id, v1=v1) as client:
            greeting = await client.next()
            assert greeting["type"] == ("connected" if v1 else "reconnect")
            yield client

    def redis(self) -> "redis.asyncio.Redis":
        return redis.asyncio.Redis.from_url(self.servers.valkey.url)

    async def command(self, *words: str, **more: str) -> tuple[int, str, str]:
        """Run a command of ours: its exit code, standard output and standard error."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            *words,
            cwd=ROOT,
            env={**os.environ, **self.environment(**more)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await process.communicate()
        return process.returncode or 0, output.decode(), errors.decode()

    async def install(self) -> int:
        return (await self.command("listener", "install"))[0]

    async def reconnect_database(self) -> None:
        await self.database.close(timeout=1) if not self.database.is_closed() else None
        self.database = await asyncpg.connect(self.database_url)


@asynccontextmanager
async def _world(servers: Servers) -> AsyncIterator[World]:
    name = f"test_{secrets.token_hex(4)}"
    admin = await asyncpg.connect(servers.postgres.url)
    await admin.execute(f"create database {name}")
    await admin.close()
    url = servers.postgres.database_url(name)
    database = await asyncpg.connect(url)
    for script in ("schema.sql", "data.sql"):
        await database.execute((ROOT / "demo" / script).read_text())
    await install(database, parse_watches(read_config(ROOT / "invalidation.toml")))
    async with aiohttp.ClientSession() as http:
        world = World(
            servers,
            url,
            f"{name}:",
            http,
            database,
            [],
            ada="0000ada0-0000-4000-8000-000000000001",
            grace="0000ace0-0000-4000-8000-000000000002",
            apollo="a9011000-0000-4000-8000-000000000001",
            gemini="9e313100-0000-4000-8000-000000000002",
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


@pytest.fixture
async def world(servers: Servers) -> AsyncIterator[World]:
    async with _world(servers) as made:
        yield made


@pytest.fixture
async def own_world(own_servers: Servers) -> AsyncIterator[World]:
    """A world whose servers are its own to kill."""
    async with _world(own_servers) as made:
        yield made

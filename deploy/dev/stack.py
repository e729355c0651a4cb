"""The development stack: what runs, in which order, and what is said about it."""

import asyncio
import json
import os
import secrets
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp
import asyncpg
import jwt

from deploy.dev.process import Child, Console, follow_file
from deploy.dev.servers import PostgresServer, Server, ValkeyServer

ROOT: Final = Path(__file__).parents[2]
FOLDER: Final = ROOT / ".dev"
STACK_FILE: Final = FOLDER / "stack.json"
READY_SECONDS: Final = 30.0
TOKEN_SECONDS: Final = 30 * 24 * 3600
USERS: Final = {
    "ada": "0000ada0-0000-4000-8000-000000000001",
    "grace": "0000ace0-0000-4000-8000-000000000002",
}
APOLLO: Final = "a9011000-0000-4000-8000-000000000001"
TASK: Final = "7a500000-0000-4000-8000-000000000001"


class StackFailed(Exception):
    """The stack can't run; the text says why and what to do."""


@dataclass(frozen=True)
class Ports:
    """Where everything listens."""

    postgres: int
    redis: int
    gateways: tuple[int, int]
    listeners: tuple[int, int]

    def check_free(self, *, own_postgres: bool, own_redis: bool) -> None:
        """Raise ``StackFailed`` with every busy port, before anything is started."""
        wanted = [
            *(("a gateway", port, "DEV_GATEWAY_PORTS") for port in self.gateways),
            *(("a listener", port, "DEV_LISTENER_PORTS") for port in self.listeners),
        ]
        if own_postgres:
            wanted.append(("PostgreSQL", self.postgres, "DEV_POSTGRES_PORT"))
        if own_redis:
            wanted.append(("Valkey", self.redis, "DEV_REDIS_PORT"))
        busy = [
            f"port {port} is busy, and {part} needs it: free it, or choose another with {name}"
            for part, port, name in wanted
            if not _is_free(port)
        ]
        if busy:
            raise StackFailed("\n".join([*busy, "(is another `make dev` running?)"]))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class Stack:
    """Everything that ``make dev`` runs."""

    def __init__(
        self,
        ports: Ports,
        environment: Mapping[str, str],
        *,
        database_url: str | None,
        redis_url: str | None,
    ) -> None:
        self._ports = ports
        self._environment = environment
        self._console = Console()
        self._servers: list[Server] = []
        self._database_url = database_url
        self._redis_url = redis_url

    async def run(self, stop: asyncio.Event) -> None:
        """Run until *stop* is set. Raises ``StackFailed`` and what ``Server.start`` does."""
        self._ports.check_free(
            own_postgres=self._database_url is None, own_redis=self._redis_url is None
        )
        FOLDER.mkdir(exist_ok=True)
        try:
            database_url, redis_url = self._start_servers()
            settings = {
                "DATABASE_URL": database_url,
                "REDIS_URL": redis_url,
                "JWT_SECRET": _secret(),
                "LOG_FORMAT": "console",
                "PYTHONUNBUFFERED": "1",
            }
            await self._prepare(settings)
            async with self._children(settings) as children:
                await self._wait_until_ready()
                self._describe(settings)
                await self._watch(children, stop)
        finally:
            STACK_FILE.unlink(missing_ok=True)
            for server in reversed(self._servers):
                self._say(f"stopping {server.name}")
                server.stop()

    def _start_servers(self) -> tuple[str, str]:
        if self._database_url is None:
            self._say(f"starting PostgreSQL on port {self._ports.postgres}")
            postgres = PostgresServer(FOLDER / "postgres", self._ports.postgres)
            self._servers.append(postgres)
            postgres.start()
            self._database_url = postgres.url
        if self._redis_url is None:
            self._say(f"starting Valkey on port {self._ports.redis}")
            valkey = ValkeyServer(FOLDER / "valkey", self._ports.redis)
            self._servers.append(valkey)
            valkey.start()
            self._redis_url = valkey.url
        return self._database_url, self._redis_url

    async def _prepare(self, settings: Mapping[str, str]) -> None:
        self._say("loading the demo schema and data")
        try:
            connection = await asyncpg.connect(settings["DATABASE_URL"], timeout=10)
        except (OSError, asyncpg.PostgresError) as exc:
            raise StackFailed(f"DATABASE_URL can't be connected to: {exc}") from exc
        for name in ("schema.sql", "data.sql"):
            await connection.execute((ROOT / "demo" / name).read_text())
        await connection.close()
        self._say("installing the change log and the triggers")
        installing = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "listener",
            "install",
            cwd=ROOT,
            env={**self._environment, **settings},
            stdout=asyncio.subprocess.DEVNULL,
        )
        if await installing.wait():
            raise StackFailed("python -m listener install failed: see above")

    @asynccontextmanager
    async def _children(self, settings: Mapping[str, str]) -> AsyncIterator[list[Child]]:
        wanted = [
            *(
                (f"listener{n}", "listener", {"HEALTH_PORT": str(port)})
                for n, port in enumerate(self._ports.listeners, 1)
            ),
            *(
                (f"gateway{n}", "gateway", {"PORT": str(port)})
                for n, port in enumerate(self._ports.gateways, 1)
            ),
        ]
        children = [
            Child(
                name,
                [sys.executable, "-m", module],
                {**self._environment, **settings, **more},
                ROOT,
                self._console,
            )
            for name, module, more in wanted
        ]
        async with asyncio.TaskGroup() as tasks:
            for child in children:
                tasks.create_task(child.run())
            try:
                yield children
            finally:
                for child in reversed(children):
                    self._say(f"stopping {child.name}")
                    await child.stop()

    async def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        async with aiohttp.ClientSession() as http:
            for port in (*self._ports.listeners, *self._ports.gateways):
                while not await _is_ready(http, port):
                    if time.monotonic() > deadline:
                        raise StackFailed(f"nothing ready on port {port}: see its lines above")
                    await asyncio.sleep(0.05)

    async def _watch(self, children: list[Child], stop: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as tasks:
            following = [
                tasks.create_task(
                    follow_file(
                        server.name.lower(), server.log_path, self._console, _alive(server)
                    )
                )
                for server in self._servers
            ]
            await stop.wait()
            for task in following:
                task.cancel()

    def _describe(self, settings: Mapping[str, str]) -> None:
        urls = [f"http://127.0.0.1:{port}" for port in self._ports.gateways]
        token = mint_token("ada", settings["JWT_SECRET"])
        STACK_FILE.write_text(
            json.dumps(
                {"gateways": urls, "database_url": settings["DATABASE_URL"], "project": APOLLO}
            )
        )
        health = [f"http://127.0.0.1:{port}/readyz" for port in self._ports.listeners]
        described = f"""
Neverstale is running. Ctrl-C stops it; make clean removes its data.

  gateways    {urls[0]}  {urls[1]}   (/readyz /healthz /metrics)
  listeners   {health[0]}  {health[1]}   (who leads, who stands by)
  PostgreSQL  {self._shown(settings["DATABASE_URL"])}
  Redis       {self._shown(settings["REDIS_URL"])}

  A token for Ada, the demo user who owns project Apollo:
  {token}

  Open a socket (in a second terminal):
    .venv/bin/python -m deploy.dev socket

  Change a row (in a third):
    .venv/bin/python -m deploy.dev sql "update tasks set title = 'Lift off' where id = '{TASK}'"
"""  # noqa: S608 it is shown, not run
        print(described, flush=True)

    def _shown(self, url: str) -> str:
        """The address, without the password that one of the user's own may have."""
        scheme, _, rest = url.partition("://")
        return f"{scheme}://{rest.rpartition('@')[2]}" if ":" in rest.partition("@")[0] else url

    def _say(self, text: str) -> None:
        self._console.line("dev", text)


def mint_token(user: str, secret: str) -> str:
    """A token of a demo user."""
    expires = int(time.time()) + TOKEN_SECONDS
    return jwt.encode({"sub": USERS[user], "exp": expires}, secret, algorithm="HS256")


def read_secret() -> str:
    """The secret of the stack's tokens.

    Raises ``StackFailed`` if there has never been a stack.
    """
    try:
        return (FOLDER / "jwt_secret").read_text()
    except OSError as exc:
        raise StackFailed("no stack has run here yet: start one with `make dev`") from exc


def _secret() -> str:
    """Made once, so that tokens outlive a restart."""
    path = FOLDER / "jwt_secret"
    if not path.exists():
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(32))
    return path.read_text()


def _alive(server: Server) -> Callable[[], bool]:
    return lambda: server.process is None or server.process.poll() is None


async def _is_ready(http: aiohttp.ClientSession, port: int) -> bool:
    try:
        async with http.get(f"http://127.0.0.1:{port}/readyz") as response:
            return response.status == 200
    except aiohttp.ClientError:
        return False

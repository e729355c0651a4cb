"""The development stack: what runs, in which order, and what is said about it."""

import asyncio
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Final

import aiohttp
import asyncpg

from deploy.dev.checkout import (
    APOLLO,
    FOLDER,
    ROOT,
    TASK,
    StackFailed,
    claim,
    describe_stack,
    mint_token,
    read_secret,
)
from deploy.dev.console import Console
from deploy.dev.ports import Ports
from deploy.dev.process import Child, Part, ServerPart
from deploy.dev.servers import PostgresServer, ValkeyServer
from shared.links.postgres import connect_arguments

READY_SECONDS: Final = 30.0
PROBE_SECONDS: Final = 2.0


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
        # a secret of the user's own would make the demo's tokens worthless
        self._environment = {k: v for k, v in environment.items() if not k.startswith("JWT_")}
        self._database_url = database_url
        self._redis_url = redis_url
        self._console = Console()
        self._stages: list[list[Part]] = []  # in the order of starting; stopped in reverse
        self._runs: list[asyncio.Task[None]] = []

    async def run(self) -> None:
        """Run until cancelled. Raises ``StackFailed`` and what ``Server.start`` does."""
        with claim():
            self._ports.check(
                own_postgres=self._database_url is None, own_redis=self._redis_url is None
            )
            async with asyncio.TaskGroup() as tasks:
                try:
                    await self._bring_up(tasks)
                    await asyncio.Event().wait()
                finally:
                    await self._stop()

    async def _bring_up(self, tasks: asyncio.TaskGroup) -> None:
        database_url = self._database_url
        if database_url is None:
            postgres = PostgresServer(FOLDER / "postgres", self._ports.postgres)
            await self._start(tasks, [ServerPart(postgres, self._console)])
            database_url = postgres.url
        redis_url = self._redis_url
        if redis_url is None:
            valkey = ValkeyServer(FOLDER / "valkey", self._ports.redis)
            await self._start(tasks, [ServerPart(valkey, self._console)])
            redis_url = valkey.url
        demo = self._ports.demo
        settings = {
            "DATABASE_URL": database_url,
            "REDIS_URL": redis_url,
            "JWT_SECRET": read_secret(),
            "LOG_FORMAT": "console",
            "PYTHONUNBUFFERED": "1",
            "ALLOWED_ORIGINS": f"http://localhost:{demo},http://127.0.0.1:{demo}",
            "GATEWAY_PORT": str(self._ports.gateways[0]),
            # fits below the usual limit of descriptors: no gateway starts with a warning
            "MAX_SOCKETS": self._environment.get("MAX_SOCKETS", "1000"),
        }
        await self._load_demo(database_url)
        await self._install(settings)
        for name, ports, variable in (
            ("listener", self._ports.listeners, "HEALTH_PORT"),
            ("gateway", self._ports.gateways, "PORT"),
            ("demo", (demo,), "PORT"),
        ):
            children = [
                self._child(
                    f"{name}{n if len(ports) > 1 else ''}",
                    name,
                    {**settings, variable: str(port)},
                )
                for n, port in enumerate(ports, 1)
            ]
            await self._start(tasks, children)
        await self._wait_until_ready()
        self._describe(settings)

    async def _start(self, tasks: asyncio.TaskGroup, parts: Sequence[Part]) -> None:
        self._stages.append(list(parts))
        for part in parts:
            self._say(f"starting {part.name}")
            await part.start()
            await asyncio.sleep(0)  # a Ctrl-C meanwhile stops us here
            self._runs.append(tasks.create_task(part.run()))

    async def _stop(self) -> None:
        for stage in reversed(self._stages):
            self._say(f"stopping {', '.join(part.name for part in stage)}")
            async with asyncio.TaskGroup() as stopping:
                for part in stage:
                    stopping.create_task(part.stop())
        if self._runs:
            await asyncio.wait(self._runs)  # for their last lines

    def _child(self, name: str, module: str, settings: Mapping[str, str]) -> Child:
        return Child(
            name,
            [sys.executable, "-m", module],
            {**self._environment, **settings},
            ROOT,
            self._console,
        )

    async def _load_demo(self, database_url: str) -> None:
        self._say("loading the demo schema and data")
        try:
            connection = await asyncpg.connect(
                **connect_arguments(database_url, "neverstale dev"), timeout=10
            )
        except (OSError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as exc:
            raise StackFailed(f"DATABASE_URL can't be connected to: {exc}") from exc
        try:
            for name in ("schema.sql", "data.sql", "board.sql"):
                await connection.execute((ROOT / "demo" / name).read_text())
        except asyncpg.PostgresError as exc:
            raise StackFailed(f"the demo can't be loaded into this database: {exc}") from exc
        finally:
            await connection.close()

    async def _install(self, settings: Mapping[str, str]) -> None:
        self._say("installing the change log and the triggers")
        installing = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "listener", "install"),
            cwd=ROOT,
            env={**self._environment, **settings},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            code = await installing.wait()
        except asyncio.CancelledError:
            installing.terminate()
            await installing.wait()
            raise
        if code:
            raise StackFailed("python -m listener install failed: see above")

    async def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        timeout = aiohttp.ClientTimeout(total=PROBE_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout) as http:
            for port in (*self._ports.listeners, *self._ports.gateways, self._ports.demo):
                while not await _is_ready(http, port):
                    if time.monotonic() > deadline:
                        raise StackFailed(f"nothing ready on port {port}: see its lines above")
                    await asyncio.sleep(0.05)

    def _describe(self, settings: Mapping[str, str]) -> None:
        urls = [f"http://127.0.0.1:{port}" for port in self._ports.gateways]
        health = [f"http://127.0.0.1:{port}/readyz" for port in self._ports.listeners]
        token = mint_token("ada", settings["JWT_SECRET"])
        describe_stack(
            {"gateways": urls, "database_url": settings["DATABASE_URL"], "project": APOLLO}
        )
        is_built = (ROOT / "demo/web/dist/index.html").exists()
        demo = "   (open it twice, as two people)" if is_built else "   (its page needs Node)"
        described = f"""
Neverstale is running. Ctrl-C stops it; make clean removes its data.

  demo        http://127.0.0.1:{self._ports.demo}{demo}
  gateways    {urls[0]}  {urls[1]}   (/readyz /healthz /metrics)
  listeners   {health[0]}  {health[1]}   (who leads, who stands by)
  PostgreSQL  {shown_address(settings["DATABASE_URL"])}
  Redis       {shown_address(settings["REDIS_URL"])}

  A token for Ada, the demo user who owns project Apollo:
  {token}

  Open a socket (in a second terminal):
    .venv/bin/python -m deploy.dev socket

  Change a row (in a third):
    .venv/bin/python -m deploy.dev sql "update tasks set title = 'Lift off' where id = '{TASK}'"
"""  # noqa: S608 it is shown, not run
        print(described, flush=True)

    def _say(self, text: str) -> None:
        self._console.line("dev", text)


def shown_address(url: str) -> str:
    """The address, without the password that one of the user's own may have."""
    scheme, _, rest = url.partition("?")[0].partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


async def _is_ready(http: aiohttp.ClientSession, port: int) -> bool:
    try:
        async with http.get(f"http://127.0.0.1:{port}/readyz") as response:
            return response.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False

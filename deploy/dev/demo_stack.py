"""The stack of ``make dev``: two listeners, two gateways and the demo on its own data."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import asyncpg

from deploy.dev.ports import DemoPorts, WantedPort
from deploy.dev.servers import PostgresServer, ValkeyServer
from deploy.dev.stack import DevStack, shown_address
from deploy.dev.state import StackFailed, StateFolder
from deploy.dev.tokens import TokenIssuer
from shared.links.postgres import connect_arguments

ROOT: Final = Path(__file__).parents[2]
STATE: Final = StateFolder(ROOT / ".dev", started_by="make dev")
USERS: Final = {
    "ada": "0000ada0-0000-4000-8000-000000000001",
    "grace": "0000ace0-0000-4000-8000-000000000002",
}
APOLLO: Final = "a9011000-0000-4000-8000-000000000001"
_TASK: Final = "7a500000-0000-4000-8000-000000000001"


class DemoStack(DevStack):
    """Everything that ``make dev`` runs."""

    def __init__(
        self,
        ports: DemoPorts,
        environment: Mapping[str, str],
        *,
        database_url: str | None,
        redis_url: str | None,
    ) -> None:
        # The demo's tokens are signed with the secret in .dev: no other key may be configured.
        kept = {k: v for k, v in environment.items() if not k.startswith("JWT_")}
        super().__init__(STATE, kept, ROOT)
        self._ports = ports
        self._database_url = database_url
        self._redis_url = redis_url

    def _wanted_ports(self) -> list[WantedPort]:
        return self._ports.wanted(
            own_postgres=self._database_url is None, own_redis=self._redis_url is None
        )

    async def _bring_up(self, tasks: asyncio.TaskGroup) -> None:
        database_url = self._database_url or await self._start_server(
            tasks, PostgresServer(STATE.path / "postgres", self._ports.postgres)
        )
        redis_url = self._redis_url or await self._start_server(
            tasks, ValkeyServer(STATE.path / "valkey", self._ports.redis)
        )
        demo = self._ports.demo
        settings = {
            "DATABASE_URL": database_url,
            "REDIS_URL": redis_url,
            "JWT_SECRET": STATE.secret(),
            "ALLOWED_ORIGINS": f"http://localhost:{demo},http://127.0.0.1:{demo}",
            "GATEWAY_PORT": str(self._ports.gateways[0]),
            # fits below the usual limit of descriptors: no gateway starts with a warning
            "MAX_SOCKETS": self._environment.get("MAX_SOCKETS", "1000"),
        }
        await self._load_demo(database_url)
        self._say("installing the change log and the triggers")
        await self._install(settings)
        for name, ports, variable in (
            ("listener", self._ports.listeners, "HEALTH_PORT"),
            ("gateway", self._ports.gateways, "PORT"),
            ("demo", (demo,), "PORT"),
        ):
            programs = [
                self._program(
                    f"{name}{n if len(ports) > 1 else ''}",
                    name,
                    {**settings, variable: str(port)},
                )
                for n, port in enumerate(ports, 1)
            ]
            await self._start(tasks, programs)
        await self._wait_until_ready((*self._ports.listeners, *self._ports.gateways, demo))
        self._describe(settings)

    async def _load_demo(self, database_url: str) -> None:
        self._say("loading the demo schema and data")
        try:
            connection = await asyncpg.connect(
                **connect_arguments(database_url, "neverstale dev"), timeout=10
            )
        except (OSError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as exc:
            raise StackFailed(f"cannot connect to DATABASE_URL: {exc}") from exc
        try:
            for name in ("schema.sql", "data.sql", "board.sql"):
                await connection.execute((ROOT / "demo" / name).read_text())
        except asyncpg.PostgresError as exc:
            raise StackFailed(f"the demo can't be loaded into this database: {exc}") from exc
        finally:
            await connection.close()

    def _describe(self, settings: Mapping[str, str]) -> None:
        urls = [f"http://127.0.0.1:{port}" for port in self._ports.gateways]
        health = [f"http://127.0.0.1:{port}/readyz" for port in self._ports.listeners]
        token = TokenIssuer(settings["JWT_SECRET"]).issue(USERS["ada"])
        STATE.write_description(
            {"gateways": urls, "database_url": settings["DATABASE_URL"], "project": APOLLO}
        )
        is_built = (ROOT / "demo/web/dist/index.html").exists()
        demo = "   (open it twice, as two people)" if is_built else "   (its page needs Node)"
        described = f"""
Neverstale is running. Ctrl-C stops it; make clean removes its data.

  demo        http://127.0.0.1:{self._ports.demo}{demo}
  gateways    {urls[0]}  {urls[1]}   (/readyz /healthz /metrics)
  listeners   {health[0]}  {health[1]}   (leader or standby)
  PostgreSQL  {shown_address(settings["DATABASE_URL"])}
  Redis       {shown_address(settings["REDIS_URL"])}

  A token for Ada, the demo user who owns project Apollo:
  {token}

  Open a socket (in a second terminal):
    .venv/bin/python -m deploy.dev socket

  Change a row (in a third):
    .venv/bin/python -m deploy.dev sql \\
      "update tasks set title = 'Lift off' where id = '{_TASK}'"
"""  # noqa: S608 it is shown, not run
        print(described, flush=True)

"""The stack of ``neverstale dev``: a listener and a gateway on a database of the user's own."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.dev.ports import WantedPort
from deploy.dev.servers import ValkeyServer
from deploy.dev.stack import DevStack, shown_address
from deploy.dev.state import StackFailed, StateFolder
from deploy.dev.tokens import TokenIssuer, issuer_for


def state_folder(project: Path) -> StateFolder:
    """Return the state folder of the stack that runs in the folder *project*."""
    return StateFolder(project / ".neverstale", started_by="neverstale dev")


@dataclass(frozen=True)
class ProjectOptions:
    """What to run on. Without a Redis URL, the stack starts Valkey on ``redis_port``."""

    database_url: str
    redis_url: str | None
    config: Path
    user: str | None
    gateway_port: int
    listener_port: int
    redis_port: int


class ProjectStack(DevStack):
    """Everything that ``neverstale dev`` runs in the folder *project*."""

    def __init__(
        self, options: ProjectOptions, environment: Mapping[str, str], project: Path
    ) -> None:
        super().__init__(state_folder(project), environment, project)
        self._options = options

    def _wanted_ports(self) -> list[WantedPort]:
        options = self._options
        wanted = [
            WantedPort("the gateway", options.gateway_port, "--gateway-port"),
            WantedPort("the listener", options.listener_port, "--listener-port"),
        ]
        if options.redis_url is None:
            wanted.append(WantedPort("Valkey", options.redis_port, "--redis-port"))
        return wanted

    async def _bring_up(self, tasks: asyncio.TaskGroup) -> None:
        options = self._options
        if not (self._cwd / options.config).exists():
            raise StackFailed(
                f"{options.config} does not exist: write it with `neverstale init`, or name "
                "another file with --config"
            )
        redis_url = options.redis_url or await self._start_server(
            tasks, ValkeyServer(self._state.path / "valkey", options.redis_port)
        )
        issuer = issuer_for(self._environment, self._state.secret())
        settings = {
            "DATABASE_URL": options.database_url,
            "REDIS_URL": redis_url,
            "NEVERSTALE_CONFIG": str(options.config),
            "HEALTH_PORT": str(options.listener_port),
            "PORT": str(options.gateway_port),
            "HOST": self._environment.get("HOST") or "127.0.0.1",
            # fits below the usual limit of descriptors: the gateway starts without a warning
            "MAX_SOCKETS": self._environment.get("MAX_SOCKETS") or "1000",
        }
        if issuer is not None:
            settings["JWT_SECRET"] = issuer.secret
        database = shown_address(options.database_url)
        self._say(f"installing the change log and the triggers of {options.config}: {database}")
        await self._install(settings)
        for name in ("listener", "gateway"):
            await self._start(tasks, [self._program(name, name, settings)])
        await self._wait_until_ready((options.listener_port, options.gateway_port))
        self._describe(settings, issuer)

    def _describe(self, settings: Mapping[str, str], issuer: TokenIssuer | None) -> None:
        options = self._options
        gateway = f"http://127.0.0.1:{options.gateway_port}"
        self._state.write_description(
            {
                "gateway": gateway,
                "user": options.user,
                "issuer": issuer and issuer.describe(),
            }
        )
        print(
            f"""
Neverstale is running. Ctrl-C stops it.

  gateway     {gateway}   (/readyz /healthz /metrics)
  listener    http://127.0.0.1:{options.listener_port}/readyz
  PostgreSQL  {shown_address(settings["DATABASE_URL"])}   (keeps its triggers when this stops; \
`neverstale uninstall` removes them)
  Redis       {shown_address(settings["REDIS_URL"])}

{self._describe_tokens(issuer)}

  Then change a row of that project in your app or in psql: the socket prints its event.
""",
            flush=True,
        )

    def _describe_tokens(self, issuer: TokenIssuer | None) -> str:
        user = self._options.user
        intro = (
            "  Open a socket (in a second terminal, in this folder):\n    neverstale dev socket"
        )
        if issuer is None:
            return f"{intro} --project PROJECT_ID --token TOKEN   (a token of your app)"
        if user is None:
            return f"{intro} --project PROJECT_ID --user USER_ID"
        return (
            f"  A token for user {user}   (another user's: neverstale dev token USER_ID):\n"
            f"  {issuer.issue(user)}\n\n"
            f"{intro} --project PROJECT_ID"
        )

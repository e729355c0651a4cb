"""Base class of the development stacks: start programs in stages, stop them in reverse."""

import asyncio
import os
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import aiohttp

from deploy.dev.console import Console
from deploy.dev.ports import WantedPort, check_ports
from deploy.dev.process import ServerProcess, SupervisedProcess, SupervisedProgram
from deploy.dev.servers import PostgresServer, ValkeyServer
from deploy.dev.state import StackFailed, StateFolder
from shared.links.urls import InvalidUrl, split_url

PACKAGES: Final = Path(__file__).parents[2]  # the folder with listener, gateway and shared
READY_SECONDS: Final = 30.0
PROBE_SECONDS: Final = 2.0


class DevStack(ABC):
    """Servers and programs that run until the stack is cancelled."""

    def __init__(self, state: StateFolder, environment: Mapping[str, str], cwd: Path) -> None:
        """Programs run in *cwd*, with *environment* and the settings of each."""
        self._state = state
        self._environment = environment
        self._cwd = cwd
        self._console = Console()
        self._stages: list[list[SupervisedProcess]] = []  # in the order of starting
        self._runs: list[asyncio.Task[None]] = []

    async def run(self) -> None:
        """Run until cancelled. Raises ``StackFailed``, and what ``Server.start`` raises."""
        with self._state.claim():
            check_ports(self._wanted_ports())
            async with asyncio.TaskGroup() as tasks:
                try:
                    await self._bring_up(tasks)
                    await asyncio.Event().wait()
                finally:
                    await self._stop()

    @abstractmethod
    def _wanted_ports(self) -> list[WantedPort]:
        """Return the ports that must be free before anything starts."""

    @abstractmethod
    async def _bring_up(self, tasks: asyncio.TaskGroup) -> None:
        """Start everything, wait until it is ready, and describe it on the console."""

    async def _start_server(
        self, tasks: asyncio.TaskGroup, server: PostgresServer | ValkeyServer
    ) -> str:
        """Start a server. Return its URL."""
        await self._start(tasks, [ServerProcess(server, self._console)])
        return server.url

    async def _start(
        self, tasks: asyncio.TaskGroup, stage: Sequence[SupervisedProcess]
    ) -> None:
        self._stages.append(list(stage))
        for process in stage:
            self._say(f"starting {process.name}")
            await process.start()
            await asyncio.sleep(0)  # yield: a Ctrl-C received meanwhile cancels here
            self._runs.append(tasks.create_task(process.run()))

    async def _stop(self) -> None:
        for stage in reversed(self._stages):
            self._say(f"stopping {', '.join(process.name for process in stage)}")
            async with asyncio.TaskGroup() as stopping:
                for process in stage:
                    stopping.create_task(process.stop())
        if self._runs:
            await asyncio.wait(self._runs)  # so that their last output is printed

    def _program(
        self, name: str, module: str, settings: Mapping[str, str]
    ) -> SupervisedProgram:
        return SupervisedProgram(
            name, _command(module), self._child_environment(settings), self._cwd, self._console
        )

    def _child_environment(self, settings: Mapping[str, str]) -> dict[str, str]:
        paths = [str(PACKAGES), self._environment.get("PYTHONPATH")]
        return {
            **self._environment,
            "LOG_FORMAT": "console",
            "PYTHONUNBUFFERED": "1",
            **settings,
            "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        }

    async def _install(self, settings: Mapping[str, str]) -> None:
        """Install the change log and the triggers. Raises ``StackFailed``."""
        installing = await asyncio.create_subprocess_exec(
            *(*_command("listener"), "install"),
            cwd=self._cwd,
            env=self._child_environment(settings),
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
            raise StackFailed(
                f"neverstale install failed (exit code {code}): see its output above"
            )

    async def _wait_until_ready(self, ports: Sequence[int]) -> None:
        deadline = time.monotonic() + READY_SECONDS
        timeout = aiohttp.ClientTimeout(total=PROBE_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout) as http:
            for port in ports:
                while not await _is_ready(http, port):
                    if time.monotonic() > deadline:
                        raise StackFailed(
                            f"no process became ready on port {port} within "
                            f"{READY_SECONDS:.0f} s: see its output above"
                        )
                    await asyncio.sleep(0.05)

    def _say(self, text: str) -> None:
        self._console.line("dev", text)


def shown_address(url: str) -> str:
    """Return the URL without user, password and parameters.

    Nothing of a URL that cannot be parsed is shown: any part may be a password's.
    """
    try:
        split_url(url)
    except InvalidUrl:
        return "an address that cannot be read"
    scheme, _, rest = url.strip().partition("?")[0].partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


def _command(module: str) -> tuple[str, ...]:
    # -P: a folder `shared` or `listener` in the working directory cannot shadow our packages
    return (sys.executable, "-P", "-m", module)


async def _is_ready(http: aiohttp.ClientSession, port: int) -> bool:
    try:
        async with http.get(f"http://127.0.0.1:{port}/readyz") as response:
            return response.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False

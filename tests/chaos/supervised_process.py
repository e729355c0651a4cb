"""Listeners and gateways as processes that can be killed, frozen and started again."""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from deploy.dev.servers import die_with_parent, free_port
from tests.support.preforked import Program, start_program
from tests.support.processes import ROOT

END_SECONDS: Final = 20.0


@dataclass(frozen=True)
class Launcher:
    """How a program is started otherwise than in a fork: a command, to which its name is added,
    in a folder.
    """

    command: tuple[str, ...]
    folder: Path = ROOT


def skewed_clock(seconds: float) -> Launcher:
    """Return what starts a program with its clock ahead."""
    # not in a fork of a process that may have imported time.time already
    return Launcher((sys.executable, "-m", "tests.chaos.skewed", str(seconds)))


class SupervisedProcess:
    """One process with its port and its log file. ``wanted``: it is meant to be running."""

    def __init__(
        self,
        name: str,
        environment: Mapping[str, str],
        folder: Path,
        launcher: Launcher | None = None,
    ) -> None:
        self.name = name
        self._launcher = launcher
        self.port = 0
        self.wanted = False
        self.log = folder / f"{name}.log"
        self._environment = environment
        self._process: Program | asyncio.subprocess.Process | None = None
        self._changing = asyncio.Lock()  # so that a process that is being started can be ended

    @property
    def exit_code(self) -> int | None:
        return self._process.returncode if self._process is not None else None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    async def start(self) -> None:
        """Start it on a new port: the former one may have been taken while it was down."""
        async with self._changing:
            self.port = free_port()
            ports = {"PORT": str(self.port), "HEALTH_PORT": str(self.port)}
            environment = {**os.environ, **self._environment, **ports}
            with self.log.open("ab") as output:
                self._process = await self._start(output, environment)
            self.wanted = True

    async def _start(
        self, output: IO[bytes], environment: Mapping[str, str]
    ) -> "Program | asyncio.subprocess.Process":
        module = self.name.rstrip("0123456789")
        if self._launcher is None:
            return await start_program(module, cwd=ROOT, env=environment, output=output)
        return await asyncio.create_subprocess_exec(
            *self._launcher.command,
            module,
            cwd=self._launcher.folder,
            env=environment,
            stdout=output,
            stderr=output,
            preexec_fn=die_with_parent,
        )

    def has_found_its_port_taken(self) -> bool:
        """Whether its log ends with that: another program took the port first."""
        return b"can't listen on port" in self.log.read_bytes()[-500:]

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    async def end(self, number: signal.Signals) -> int | None:
        """Signal it. Return its exit code, or None if it had to be killed."""
        self.wanted = False  # also while it is being started again
        async with self._changing:
            self.wanted = False
            self._signal(number)
            deadline = asyncio.get_running_loop().time() + END_SECONDS
            while self.exit_code is None:
                if asyncio.get_running_loop().time() > deadline:
                    self._signal(signal.SIGKILL)
                    return None
                await asyncio.sleep(0.01)
            return self.exit_code

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):  # it has exited just now
                self._process.send_signal(number)

"""Listeners and gateways as processes that can be killed, frozen and started again."""

import asyncio
import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from deploy.dev.servers import free_port
from tests.support.processes import start_logged

END_SECONDS: Final = 20.0


class SupervisedProcess:
    """One process with its port and its log file. ``wanted``: it is meant to be running."""

    def __init__(
        self,
        name: str,
        environment: Mapping[str, str],
        folder: Path,
        *,
        skew_seconds: float = 0.0,
    ) -> None:
        self.name = name
        self._skew_seconds = skew_seconds
        self.port = 0
        self.wanted = False
        self.log = folder / f"{name}.log"
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def exit_code(self) -> int | None:
        return self._process.poll() if self._process is not None else None

    def start(self) -> None:
        """Start it on a new port: the former one may have been taken while it was down."""
        self.port = free_port()
        module = [self.name.rstrip("0123456789")]
        if self._skew_seconds:
            module = ["tests.chaos.skewed", str(self._skew_seconds), *module]
        ports = {"PORT": str(self.port), "HEALTH_PORT": str(self.port)}
        environment = {**os.environ, **self._environment, **ports}
        self._process = start_logged(*module, log=self.log, environment=environment)
        self.wanted = True

    def has_found_its_port_taken(self) -> bool:
        """Whether its log ends with that: another program took the port first."""
        return b"can't listen on port" in self.log.read_bytes()[-500:]

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    async def end(self, number: signal.Signals) -> int | None:
        """Signal it. Return its exit code, or None if it had to be killed."""
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
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

"""A whole stack on this machine, for measuring, on free ports and with temporary data."""

import asyncio
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg

from deploy.dev.servers import PostgresServer, ValkeyServer, die_with_parent, free_port
from tests.support.processes import ROOT, SECRET

READY_SECONDS: Final = 120.0  # only to catch hangs
STOP_SECONDS: Final = 10.0
GRACE_SECONDS: Final = 30.0  # DRAIN_SECONDS, which is not set here, and 10 s more


class StackFailed(Exception):
    """A part did not start or has exited. The message has the end of its log."""


class MeasuredProcess:
    """A running listener or gateway, with its log file."""

    def __init__(
        self, name: str, module: str, port: int, environment: dict[str, str], log: Path
    ) -> None:
        self.name = name
        self.port = port
        self._module = module
        self._environment = environment
        self._log = log
        self._is_restarting = False
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-m", self._module],
                cwd=ROOT,
                env=self._environment,
                stdout=output,
                stderr=output,
                preexec_fn=die_with_parent,
            )

    def check(self) -> None:
        """Raise ``StackFailed`` if it has exited without being asked to."""
        if not self._is_restarting:
            self._check_running()

    def _check_running(self) -> None:
        if self.process.poll() is not None:
            raise StackFailed(f"{self.name} has ended:\n{self._log_end()}")

    async def restart(self) -> None:
        """End it with SIGTERM, start it again on its port, and wait until it is ready.

        Raises:
            StackFailed: it did not end well and in time, or is not ready again in time.
        """
        self._is_restarting = True
        self.process.terminate()
        try:
            async with asyncio.timeout(GRACE_SECONDS):
                while self.process.poll() is None:
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise StackFailed(f"{self.name} does not end:\n{self._log_end()}") from None
        if self.process.returncode != 0:
            raise StackFailed(f"{self.name} ended badly:\n{self._log_end()}")
        self.process = self._start()
        await asyncio.to_thread(self.wait_ready)
        self._is_restarting = False

    def stop(self) -> None:
        """End it; kill it if it takes too long."""
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def wait_ready(self) -> None:
        """Wait until it is ready. Raises ``StackFailed`` if it exits or takes too long."""
        deadline = time.monotonic() + READY_SECONDS
        while not self._is_ready():
            self._check_running()
            if time.monotonic() > deadline:
                raise StackFailed(f"{self.name} is not ready:\n{self._log_end()}")
            time.sleep(0.05)

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=1):
                return True
        except (OSError, urllib.error.HTTPError):
            return False

    def _log_end(self) -> str:
        return b"\n".join(self._log.read_bytes().splitlines()[-10:]).decode(errors="replace")


@dataclass(frozen=True)
class MeasuredStack:
    """Running servers, listeners and gateways."""

    postgres: PostgresServer
    valkey: ValkeyServer
    listeners: list[MeasuredProcess]
    gateways: list[MeasuredProcess]

    def check(self) -> None:
        """Raise ``StackFailed`` if a listener or a gateway has exited."""
        for part in (*self.listeners, *self.gateways):
            part.check()

    def pids(self) -> dict[str, list[int]]:
        """Return the processes by their role."""
        servers = {"postgres": self.postgres, "valkey": self.valkey}
        return {
            "gateways": [part.process.pid for part in self.gateways],
            "listeners": [part.process.pid for part in self.listeners],
            **{role: [each.process.pid] for role, each in servers.items() if each.process},
        }


@contextmanager
def running(
    folder: Path,
    schema: str,
    config: str,
    *,
    listeners: int = 1,
    gateways: int = 0,
    workers: int = 1,
) -> Iterator[MeasuredStack]:
    """Yield a stack that is ready: PostgreSQL with this schema and config, Valkey,
    *listeners* listeners and *gateways* gateways of *workers* processes each.

    Raises:
        ServerMissing, ServerFailed, StackFailed: a part did not start.
    """
    folder.chmod(0o755)  # PostgreSQL may run as another user
    (folder / "invalidation.toml").write_text(config)
    with ExitStack() as stack:
        postgres, valkey = PostgresServer(folder / "postgres"), ValkeyServer(folder / "valkey")
        for server in (postgres, valkey):
            stack.callback(server.stop)
            server.start()
        environment = {
            **{name: value for name, value in os.environ.items() if name[:4] != "JWT_"},
            "DATABASE_URL": postgres.url,
            "REDIS_URL": valkey.url,
            "NEVERSTALE_CONFIG": str(folder / "invalidation.toml"),
            "JWT_SECRET": SECRET,
            "HOST": "127.0.0.1",
            "WORKERS": str(workers),
            "MAX_SOCKETS": "0",
            "MAX_SOCKETS_PER_USER": "0",
            "LOG_LEVEL": "warning",
        }
        asyncio.run(execute(postgres.url, schema))
        subprocess.run(
            [sys.executable, "-m", "listener", "install"],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.DEVNULL,
            check=True,
        )
        asyncio.run(execute(postgres.url, "vacuum analyze"))

        def start(module: str, count: int) -> list[MeasuredProcess]:
            started = []
            for number in range(1, count + 1):
                port, name = free_port(), f"{module} {number}"
                ports = {"PORT": str(port), "HEALTH_PORT": str(port)}
                part = MeasuredProcess(
                    name, module, port, environment | ports, folder / f"{name}.log"
                )
                stack.callback(part.stop)
                started.append(part)
            return started

        # all start at once: a gateway is ready once a listener has made the state in Redis
        parts = MeasuredStack(
            postgres, valkey, start("listener", listeners), start("gateway", gateways)
        )
        for part in (*parts.listeners, *parts.gateways):
            part.wait_ready()
        yield parts


async def execute(url: str, sql: str) -> None:
    """Run SQL on a new connection."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()

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

READY_SECONDS: Final = 30.0
STOP_SECONDS: Final = 10.0


class StackFailed(Exception):
    """A part did not start or has exited. The message has the end of its log."""


@dataclass(frozen=True)
class MeasuredProcess:
    """A listener or a gateway, with its log file."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    log: Path

    def check(self) -> None:
        """Raise ``StackFailed`` if it has exited."""
        if self.process.poll() is not None:
            raise StackFailed(f"{self.name} has ended:\n{self._log_end()}")

    def wait_ready(self) -> None:
        """Wait until it is ready. Raises ``StackFailed`` if it exits or takes too long."""
        deadline = time.monotonic() + READY_SECONDS
        while not self._is_ready():
            self.check()
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
        return b"\n".join(self.log.read_bytes().splitlines()[-10:]).decode(errors="replace")


@dataclass(frozen=True)
class MeasuredStack:
    """Running servers, listener and gateways."""

    postgres: PostgresServer
    valkey: ValkeyServer
    listener: MeasuredProcess
    gateways: list[MeasuredProcess]

    def check(self) -> None:
        """Raise ``StackFailed`` if the listener or a gateway has exited."""
        for part in (self.listener, *self.gateways):
            part.check()


@contextmanager
def running(
    folder: Path, schema: str, config: str, *, gateways: int = 0, workers: int = 1
) -> Iterator[MeasuredStack]:
    """Yield a stack that is ready: PostgreSQL with this schema and config, Valkey, a listener
    and *gateways* gateways of *workers* processes each.

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
        listener = _start(stack, folder, environment, "listener", "listener", "HEALTH_PORT")
        # all start at once: a gateway is ready once the listener has made the state in Redis
        parts = [
            _start(stack, folder, environment, "gateway", f"gateway {number}", "PORT")
            for number in range(1, gateways + 1)
        ]
        for part in (listener, *parts):
            part.wait_ready()
        yield MeasuredStack(postgres, valkey, listener, parts)


def _start(
    stack: ExitStack,
    folder: Path,
    environment: dict[str, str],
    module: str,
    name: str,
    port_setting: str,
) -> MeasuredProcess:
    port, log = free_port(), folder / f"{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", module],
            cwd=ROOT,
            env={**environment, port_setting: str(port)},
            stdout=output,
            stderr=output,
            preexec_fn=die_with_parent,
        )
    stack.callback(_stop, process)
    return MeasuredProcess(name, port, process, log)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


async def execute(url: str, sql: str) -> None:
    """Run SQL on a new connection."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()

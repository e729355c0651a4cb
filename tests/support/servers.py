"""PostgreSQL and Valkey servers for tests, with temporary data."""

import asyncio
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.dev.servers import PostgresServer, Server, ServerFailed, ValkeyServer

_STARTS: Final = 20


@dataclass
class Servers:
    postgres: PostgresServer
    valkey: ValkeyServer

    def kill(self) -> None:
        """Kill both: their data is not needed any more."""
        self.postgres.kill()
        self.valkey.kill()


@contextmanager
def _discarded_folder() -> Iterator[Path]:
    """Yield a folder. It is removed in the background: for gigabytes a disk takes a minute."""
    name = tempfile.mkdtemp(prefix="neverstale-test-")
    try:
        yield Path(name)
    finally:
        subprocess.run(
            ["sh", "-c", 'rm -rf "$1" &', "sh", name],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )


@contextmanager
def running_servers() -> Iterator[Servers]:
    # not pytest's tmp_path: as root, PostgreSQL runs as another user, who can't enter it
    with _discarded_folder() as folder:
        folder.chmod(0o755)
        # POSTGRES_BIN: run the tests on another version of PostgreSQL than the wheel's
        programs = Path(os.environ["POSTGRES_BIN"]) if "POSTGRES_BIN" in os.environ else None
        postgres = PostgresServer(folder / "postgres", programs=programs, fsync=False)
        servers = Servers(postgres, ValkeyServer(folder / "valkey"))
        servers.postgres.start()
        servers.valkey.start()
        try:
            yield servers
        finally:
            servers.kill()


async def start_again(server: Server) -> None:
    """Start a server, with retries while the former process is still exiting."""
    for left in reversed(range(_STARTS)):
        try:
            await asyncio.to_thread(server.start)
        except ServerFailed:
            if not left:
                raise
            await asyncio.sleep(0.2)
        else:
            return

"""A stack to measure: PostgreSQL, Valkey and one listener, with a table of one's own."""

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg

from deploy.dev.servers import PostgresServer, ValkeyServer, free_port

ROOT: Final = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Stack:
    folder: Path
    postgres: PostgresServer
    valkey: ValkeyServer
    listener: "subprocess.Popen[bytes]"


@contextmanager
def running(schema: str, config: str) -> Iterator[Stack]:
    """The stack, with the config installed over the schema."""
    with tempfile.TemporaryDirectory(prefix="neverstale-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        postgres, valkey = PostgresServer(folder / "postgres"), ValkeyServer(folder / "valkey")
        postgres.start()
        valkey.start()
        (folder / "invalidation.toml").write_text(config)
        environment = {
            **os.environ,
            "DATABASE_URL": postgres.url,
            "REDIS_URL": valkey.url,
            "NEVERSTALE_CONFIG": str(folder / "invalidation.toml"),
            "HEALTH_PORT": str(free_port()),
            "LOG_LEVEL": "error",
        }
        asyncio.run(execute(postgres.url, schema))
        command = [sys.executable, "-m", "listener"]
        subprocess.run([*command, "install"], cwd=ROOT, env=environment, check=True)
        asyncio.run(execute(postgres.url, "vacuum analyze"))
        listener = subprocess.Popen(command, cwd=ROOT, env=environment)
        try:
            yield Stack(folder, postgres, valkey, listener)
        finally:
            listener.terminate()
            listener.wait()
            valkey.stop()
            postgres.stop()


async def execute(url: str, sql: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(sql)
    await connection.close()

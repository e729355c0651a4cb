"""PostgreSQL's own programs, of the version that the tests run on."""

import asyncio
import os
from pathlib import Path

from deploy.dev.servers import find_postgres_programs


async def run(name: str, *words: str | Path) -> tuple[int, str]:
    """Run a program. Return its exit code and standard error."""
    folder = Path(os.environ.get("POSTGRES_BIN") or find_postgres_programs())
    process = await asyncio.create_subprocess_exec(
        folder / name, *words, stderr=asyncio.subprocess.PIPE
    )
    _, errors = await process.communicate()
    return process.returncode or 0, errors.decode()

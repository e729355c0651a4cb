"""The pool of database connections that access queries use."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, TypeAlias

import asyncpg

from shared.links.postgres import connect_any, connect_arguments

Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
TIMEOUT_SECONDS: Final = 5.0


@asynccontextmanager
async def open_pool(url: str) -> AsyncIterator[Pool]:
    """A pool that connects when it is first asked: the database may be away at start."""
    where: dict[str, Any] = connect_arguments(url, "neverstale gateway", may_be_pooled=True)
    pool = await asyncpg.create_pool(
        **where | {"connect": connect_any},
        min_size=0,
        max_size=2,
        timeout=TIMEOUT_SECONDS,
        command_timeout=TIMEOUT_SECONDS,
    )
    try:
        yield pool
    finally:
        pool.terminate()

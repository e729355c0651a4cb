"""Tasks that run for as long as something else does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class _Over(Exception):
    pass


def _end() -> None:
    raise _Over


@asynccontextmanager
async def background() -> AsyncIterator[asyncio.TaskGroup]:
    """A task group whose tasks are cancelled when the body has ended."""
    try:
        async with asyncio.TaskGroup() as tasks:
            yield tasks
            _end()
    except* _Over:
        pass

"""A task group that is cancelled when its body ends."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class _Over(Exception):
    pass


def _end() -> None:
    raise _Over


@asynccontextmanager
async def background() -> AsyncIterator[asyncio.TaskGroup]:
    """Yield a task group whose tasks are cancelled when the body has ended."""
    try:
        async with asyncio.TaskGroup() as tasks:
            yield tasks
            _end()
    except* _Over:
        pass

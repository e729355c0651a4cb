"""How a process starts, stops and exits."""

import asyncio
import gc
import logging
import signal
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Final

import uvloop

EXIT_FINE: Final = 0
EXIT_FAILED: Final = 1
EXIT_WRONG_USAGE: Final = 2

log = logging.getLogger(__name__)


class FatalError(Exception):
    """The process can't do its work here; the text says why and what to do. It exits with 1."""


def run_until_signalled(service: Callable[[asyncio.Event], Awaitable[None]]) -> int:
    """Run a service on uvloop until it ends.

    Its event is set by SIGTERM or SIGINT. Returns the exit code.
    """

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        # What was imported stays: a full collection that looks at it all holds the loop for
        # tens of milliseconds, and comes the more often the more connections come and go.
        gc.collect()
        gc.freeze()
        await service(stop)

    fatal: list[FatalError] = []
    try:
        uvloop.run(main())
    except* FatalError as group:
        fatal = _leaves(group)
    for exc in fatal:
        log.error("can't go on", extra={"reason": str(exc)})
    return EXIT_FAILED if fatal else EXIT_FINE


def _leaves(group: BaseExceptionGroup[FatalError]) -> list[FatalError]:
    leaves: list[FatalError] = []
    for exc in group.exceptions:
        leaves += _leaves(exc) if isinstance(exc, BaseExceptionGroup) else [exc]
    return leaves


def raise_if_cancelled() -> None:
    """Raise the cancellation of this task that was hidden by an error.

    A TaskGroup that is cancelled while one of its own tasks fails raises that error alone
    before Python 3.13 (https://github.com/python/cpython/issues/116720).
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


class _Stopped(Exception):
    """Ends the TaskGroup of a service that was asked to stop."""


async def run_until(stop: asyncio.Event, *services: Coroutine[None, None, None]) -> None:
    """Run services, none of which ever returns, side by side until *stop* is set or one of them
    raises.
    """

    async def raise_when_stopped() -> None:
        await stop.wait()
        raise _Stopped

    async def never_return(service: Coroutine[None, None, None]) -> None:
        await service
        raise AssertionError("a service returned")

    with _suppressing_stopped():
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(raise_when_stopped())
            for service in services:
                tasks.create_task(never_return(service))


@contextmanager
def _suppressing_stopped() -> Iterator[None]:
    try:
        yield
    except* _Stopped:
        pass

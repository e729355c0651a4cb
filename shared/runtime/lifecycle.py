"""How a process starts, stops and exits."""

import asyncio
import gc
import logging
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final, TypeVar

import uvloop

# A collection visits 1,500 new objects, every fourth one 6,000, and every eighth all that are
# not frozen.
GC_THRESHOLDS: Final = (1_500, 3, 1)
FREEZE_SECONDS: Final = 0.002

EXIT_FINE: Final = 0
EXIT_FAILED: Final = 1
EXIT_WRONG_USAGE: Final = 2
DESCRIBED_EXIT_CODES: Final = """\
exit codes:
  0  success, or a signal stopped the service
  1  failure, or `check` or `types --check` found differences
  2  wrong usage, settings or invalidation.toml
"""

AnyException = TypeVar("AnyException", bound=BaseException)

log = logging.getLogger(__name__)


class FatalError(Exception):
    """The process can't work here and exits with 1; the text says why and what to do."""


def run_until_signalled(service: Callable[[asyncio.Event], Awaitable[None]]) -> int:
    """Run a service on uvloop until it returns. Return the exit code.

    SIGTERM and SIGINT set the event that the service gets.
    """

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        with bounded_collections():
            await service(stop)

    fatal: list[FatalError] = []
    try:
        uvloop.run(main())
    except* FatalError as group:
        fatal = leaf_exceptions(group)
    for exc in fatal:
        log_fatal(exc)
    return EXIT_FAILED if fatal else EXIT_FINE


@contextmanager
def bounded_collections() -> Iterator[None]:
    """Keep the garbage collector's pauses short, however many objects there are.

    A full collection visits all objects, which blocks the loop for tens of milliseconds while
    thousands of clients are connected, and finds next to nothing: what they leave has no
    cycles. So what was imported is frozen, and whatever survived a full collection that took
    longer than ``FREEZE_SECONDS``: later ones pass it over. Frozen objects are freed as others
    are, except those that become part of unreachable cycles.
    """
    started = 0.0

    def observe(phase: str, info: dict[str, int]) -> None:
        nonlocal started
        if phase == "start":
            started = time.perf_counter()
        elif info["generation"] == 2 and time.perf_counter() - started > FREEZE_SECONDS:
            gc.freeze()

    gc.collect()
    gc.freeze()
    gc.collect()  # finds nothing: full collections are made more rarely the more the last found
    gc.set_threshold(*GC_THRESHOLDS)
    gc.callbacks.append(observe)
    try:
        yield
    finally:
        gc.callbacks.remove(observe)


def log_fatal(exc: FatalError) -> None:
    """Log why the process exits."""
    log.error("cannot continue", extra={"reason": str(exc)})


def leaf_exceptions(group: BaseExceptionGroup[AnyException]) -> list[AnyException]:
    """Return the exceptions in the group and in the groups nested in it, in order."""
    leaves: list[AnyException] = []
    for exc in group.exceptions:
        leaves += leaf_exceptions(exc) if isinstance(exc, BaseExceptionGroup) else [exc]
    return leaves


def raise_if_cancelled() -> None:
    """Raise this task's cancellation if an error has hidden it.

    A TaskGroup that is cancelled while one of its own tasks fails raises that error alone
    before Python 3.13 (https://github.com/python/cpython/issues/116720).
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


class _Stopped(Exception):
    """Ends the TaskGroup of a service that was asked to stop."""


async def run_until(stop: asyncio.Event, *services: Coroutine[None, None, None]) -> None:
    """Run services concurrently until *stop* is set or one raises. No service may return."""

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


@asynccontextmanager
async def tasks_of_body() -> AsyncIterator[asyncio.TaskGroup]:
    """Yield a task group for tasks that have no purpose after the body, which cancels them."""
    with _suppressing_stopped():
        async with asyncio.TaskGroup() as tasks:
            yield tasks
            raise _Stopped


@contextmanager
def _suppressing_stopped() -> Iterator[None]:
    try:
        yield
    except* _Stopped:
        pass

"""Runs what the development commands do, and reports how it failed."""

import asyncio
import signal
import sys
from collections.abc import Coroutine
from typing import Any

from deploy.dev.servers import ServerFailed, ServerMissing
from deploy.dev.stack import DevStack
from deploy.dev.state import StackFailed
from shared.runtime.lifecycle import EXIT_FAILED, EXIT_FINE, leaf_exceptions

EXIT_INTERRUPTED = 130


def run_reporting(work: Coroutine[Any, Any, None]) -> int:
    """Run *work*. Print why it failed, if it did. Return the exit code."""
    code = EXIT_FINE
    try:
        asyncio.run(work)
    except* (StackFailed, ServerFailed, ServerMissing) as failed:
        for exc in leaf_exceptions(failed):
            report(exc)
        code = EXIT_FAILED
    except* KeyboardInterrupt:
        code = EXIT_INTERRUPTED
    return code


def report(exc: Exception) -> None:
    """Print why a command failed."""
    print(f"neverstale dev: {exc}", file=sys.stderr)


async def run_until_signalled(stack: DevStack) -> None:
    """Run the stack until SIGINT, SIGTERM or SIGHUP. Raises what ``DevStack.run`` raises."""
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(stack.run())
        is_stopping = False

        def stop() -> None:
            nonlocal is_stopping
            if not is_stopping:  # a second Ctrl-C must not interrupt the shutdown
                is_stopping = True
                running.cancel()

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, stop)

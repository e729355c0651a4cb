"""A supervised child process whose output is followed with a prefix."""

import asyncio
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from deploy.dev.servers import die_with_parent

STOP_SECONDS: Final = 10.0
RESTART_SECONDS: Final = 1.0
MAX_RESTARTS: Final = 5
_COLOURS: Final = (36, 32, 33, 35, 34, 31)


class Console:
    """Lines of all parts, told apart by a prefix of fixed width (in colour on a terminal)."""

    def __init__(self) -> None:
        self._in_colour = sys.stdout.isatty()
        self._parts: list[str] = []

    def line(self, part: str, text: str) -> None:
        """Print one line of a part."""
        if part not in self._parts:
            self._parts.append(part)
        prefix = f"{part:<10} | "
        if self._in_colour:
            colour = _COLOURS[self._parts.index(part) % len(_COLOURS)]
            prefix = f"\x1b[{colour}m{prefix}\x1b[0m"
        print(f"{prefix}{text}", flush=True)

    def alarm(self, text: str) -> None:
        """Say something that must not be overlooked."""
        bar = "!" * 78
        print(f"{bar}\n!! {text}\n{bar}", flush=True)


class Child:
    """A program of ours that runs until it is stopped.

    If it dies it is said, and started again.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        folder: Path,
        console: Console,
    ) -> None:
        self.name = name
        self._command = command
        self._environment = environment
        self._folder = folder
        self._console = console
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = False
        self._last_lines: deque[str] = deque(maxlen=5)

    async def run(self) -> None:
        """Run it until ``stop``, or until it died too often in a row."""
        for _ in range(MAX_RESTARTS + 1):
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                env=self._environment,
                cwd=self._folder,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,  # the terminal's Ctrl-C is for the supervisor alone
                preexec_fn=die_with_parent,
            )
            await self._follow(self._process)
            code = await self._process.wait()
            if self._stopping:
                return
            told = "\n!!   ".join(["", *self._last_lines])
            self._console.alarm(f"{self.name} died (exit code {code}); its last lines:{told}")
            await asyncio.sleep(RESTART_SECONDS)
        self._console.alarm(
            f"{self.name} is not started again: it died {MAX_RESTARTS + 1} times"
        )

    async def stop(self) -> None:
        """End it in order, or by force when it takes too long."""
        self._stopping = True
        if self._process is None or self._process.returncode is not None:
            return
        self._process.terminate()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    async def _follow(self, process: asyncio.subprocess.Process) -> None:
        if process.stdout is None:
            return
        async for line in process.stdout:
            text = line.decode(errors="replace").rstrip()
            self._last_lines.append(text)
            self._console.line(self.name, text)


async def follow_file(
    name: str, path: Path, console: Console, is_alive: Callable[[], bool]
) -> None:
    """Print what is written to a log file from now on, until cancelled.

    Say it if its part died.
    """
    with path.open("rb") as log:
        log.seek(0, 2)
        said = False
        while True:
            while line := log.readline():
                console.line(name, line.decode(errors="replace").rstrip())
            if not is_alive() and not said:
                said = True
                console.alarm(
                    f"{name} died; its log is {path}. Stop with Ctrl-C and start anew"
                )
            await asyncio.sleep(0.2)

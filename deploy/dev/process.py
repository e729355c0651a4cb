"""Processes of a stack: print their output with a prefix, and restart them when they die."""

import asyncio
import contextlib
import os
import signal
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from deploy.dev.console import Console
from deploy.dev.servers import Server, ServerFailed, die_with_parent
from deploy.dev.state import StackFailed
from shared.runtime.lifecycle import EXIT_WRONG_USAGE

STOP_SECONDS: Final = 10.0
RESTART_SECONDS: Final = 1.0
STEADY_SECONDS: Final = 10.0
MAX_RESTARTS: Final = 5
LOG_POLL_SECONDS: Final = 0.1
LINE_LIMIT_BYTES: Final = 1 << 20


class SupervisedProcess(ABC):
    """A process that runs until it is stopped.

    A process that dies is reported and restarted, up to ``MAX_RESTARTS`` times in a row.
    """

    def __init__(self, name: str, console: Console) -> None:
        self.name = name
        self._console = console
        self._stopping = asyncio.Event()
        self._starting_or_stopping = asyncio.Lock()  # never both at once
        self._last_lines: deque[str] = deque(maxlen=5)

    async def start(self) -> None:
        """Start it, unless it has been stopped. Raises what ``_start`` raises."""
        async with self._starting_or_stopping:
            if not self._stopping.is_set():
                await self._start()

    async def run(self) -> None:
        """Print its output, once it has been started, until ``stop`` or too many deaths.

        Raises what ``_follow`` raises.
        """
        deaths = 0
        while True:
            since = time.monotonic()
            ended = await self._follow()
            while not self._stopping.is_set():
                deaths = 1 if time.monotonic() - since > STEADY_SECONDS else deaths + 1
                self._report(ended, deaths)
                if deaths > MAX_RESTARTS or await self._stopped_within(RESTART_SECONDS):
                    return
                since = time.monotonic()
                try:
                    await self.start()
                    break
                except ServerFailed as exc:
                    ended = f"did not restart: {exc}"
            if self._stopping.is_set():
                return

    async def stop(self) -> None:
        """Stop it cleanly, or kill it if that takes too long."""
        self._stopping.set()
        async with self._starting_or_stopping:
            await self._end()

    def _report(self, ended: str, deaths: int) -> None:
        again = (
            f"not restarted: it died {deaths} times in a row"
            if deaths > MAX_RESTARTS
            else f"restarting in {RESTART_SECONDS:g} s"
        )
        lines = "\n!!   ".join(["", *self._last_lines])
        self._console.alarm(f"{self.name} {ended}; {again}. Its last lines:{lines}")

    def _line(self, raw: bytes) -> None:
        text = raw.decode(errors="replace").rstrip()
        self._last_lines.append(text)
        self._console.line(self.name, text)

    async def _stopped_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                return await self._stopping.wait()
        except TimeoutError:
            return False

    @abstractmethod
    async def _start(self) -> None: ...

    @abstractmethod
    async def _follow(self) -> str:
        """Print its output until it ends. Return how it ended."""

    @abstractmethod
    async def _end(self) -> None: ...


class SupervisedProgram(SupervisedProcess):
    """A program of ours, whose output comes through a pipe.

    One that exits because its settings are wrong ends the stack: a restart would not help.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        folder: Path,
        console: Console,
    ) -> None:
        super().__init__(name, console)
        self._command = command
        self._environment = environment
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None

    async def _start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            env=self._environment,
            cwd=self._folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,  # a Ctrl-C on the terminal signals the supervisor only
            preexec_fn=die_with_parent,
            limit=LINE_LIMIT_BYTES,
        )

    async def _follow(self) -> str:
        process = self._process
        if process is None or process.stdout is None:
            return "was not started"
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._print(process.stdout))
            code = await process.wait()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # what it left holds our pipe open
        if code == EXIT_WRONG_USAGE and not self._stopping.is_set():
            raise StackFailed(
                f"{self.name} cannot run with these settings: see its lines above"
            )
        return f"died ({_describe_exit(code)})"

    async def _print(self, output: asyncio.StreamReader) -> None:
        while True:
            try:
                raw = await output.readline()
            except ValueError:  # readline() has dropped a line over its limit
                raw = b"(a line too long to show)"
            if not raw:
                return
            self._line(raw)

    async def _end(self) -> None:
        if self._process is None or self._process.returncode is not None:
            return
        self._process.terminate()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self._process.wait()
        except TimeoutError:
            self._console.alarm(f"{self.name} did not stop in {STOP_SECONDS:g} s: killed")
            self._process.kill()
            await self._process.wait()


class ServerProcess(SupervisedProcess):
    """PostgreSQL or Valkey, whose output goes to a log file."""

    def __init__(self, server: Server, console: Console) -> None:
        super().__init__(server.name.lower(), console)
        self._server = server
        self._read_bytes = _size(server.log_path)

    async def _start(self) -> None:
        # not in a thread: prctl(2) counts the end of the thread that forked as the parent's
        self._server.start()

    async def _follow(self) -> str:
        process = self._server.process
        if process is None:
            return "was not started"
        while True:
            code = process.poll()
            self._print_log()
            if code is not None:
                break
            await asyncio.sleep(LOG_POLL_SECONDS)
        if not self._stopping.is_set():
            # what is left of its process group may hold its port or its shared memory
            self._server.kill()
        return f"died ({_describe_exit(code)})"

    async def _end(self) -> None:
        self._server.stop()

    def _print_log(self) -> None:
        path = self._server.log_path
        if _size(path) <= self._read_bytes:
            return
        with path.open("rb") as log:
            log.seek(self._read_bytes)
            for raw in log:
                if not raw.endswith(b"\n"):
                    break  # the rest of this line has not been written yet
                self._read_bytes += len(raw)
                self._line(raw)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _describe_exit(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"

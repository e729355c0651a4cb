"""The parts that run: started, followed with a prefix, started again when they die."""

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

STOP_SECONDS: Final = 10.0
RESTART_SECONDS: Final = 1.0
STEADY_SECONDS: Final = 10.0
MAX_RESTARTS: Final = 5
LOG_POLL_SECONDS: Final = 0.1
LINE_LIMIT_BYTES: Final = 1 << 20


class Part(ABC):
    """One program that runs until it is stopped.

    If it dies it is said, and it is started again: up to ``MAX_RESTARTS`` times in a row.
    """

    def __init__(self, name: str, console: Console) -> None:
        self.name = name
        self._console = console
        self._stopping = asyncio.Event()
        self._turn = asyncio.Lock()  # a restart and a stop never overlap
        self._last_lines: deque[str] = deque(maxlen=5)

    async def start(self) -> None:
        """Start it, unless it has been stopped. Raises what ``_start`` does."""
        async with self._turn:
            if not self._stopping.is_set():
                await self._start()

    async def run(self) -> None:
        """Follow it once it has been started, until ``stop`` or too many deaths."""
        deaths = 0
        while True:
            since = time.monotonic()
            ended = await self._follow()
            while not self._stopping.is_set():
                deaths = 1 if time.monotonic() - since > STEADY_SECONDS else deaths + 1
                self._tell(ended, deaths)
                if deaths > MAX_RESTARTS or await self._stopped_within(RESTART_SECONDS):
                    return
                since = time.monotonic()
                try:
                    await self.start()
                    break
                except ServerFailed as exc:
                    ended = f"did not start again: {exc}"
            if self._stopping.is_set():
                return

    async def stop(self) -> None:
        """End it in order, or by force when it takes too long."""
        self._stopping.set()
        async with self._turn:
            await self._end()

    def _tell(self, ended: str, deaths: int) -> None:
        again = (
            f"not started again: it died {deaths} times in a row"
            if deaths > MAX_RESTARTS
            else f"started again in {RESTART_SECONDS:g} s"
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
        """Print its lines until it ends: how it did."""

    @abstractmethod
    async def _end(self) -> None: ...


class Child(Part):
    """A program of ours, followed by its output."""

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
            start_new_session=True,  # the terminal's Ctrl-C is for the supervisor alone
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
        return f"died ({_how(code)})"

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


class ServerPart(Part):
    """PostgreSQL or Valkey, followed by its log file."""

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
            # whatever is left of its group holds on to its port or its memory
            self._server.kill()
        return f"died ({_how(code)})"

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
                    break  # its end comes with the next look
                self._read_bytes += len(raw)
                self._line(raw)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _how(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"

"""Run commands as a user does: as processes in a folder, with an environment."""

import asyncio
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import aiohttp

HANG_SECONDS: Final = 60.0  # only to catch hangs


class Command:
    """A running process that collects the lines of its output."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []
        self._changed = asyncio.Condition()

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    async def read(self) -> None:
        """Collect lines until the process closes its output."""
        assert self.process.stdout is not None
        async for raw in self.process.stdout:
            async with self._changed:
                self.lines.append(raw.decode().rstrip("\n"))
                self._changed.notify_all()
        async with self._changed:
            self._changed.notify_all()

    async def line_with(self, text: str) -> str:
        """Wait for a line that contains *text*, and return the first."""
        async with asyncio.timeout(HANG_SECONDS), self._changed:
            while not (found := [line for line in self.lines if text in line]):
                assert self.process.returncode is None, self.output
                await self._changed.wait()
        return found[0]

    async def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Signal the process. Return its exit code."""
        if self.process.returncode is None:
            self.process.send_signal(number)
        async with asyncio.timeout(HANG_SECONDS):
            return await self.process.wait()


@asynccontextmanager
async def running(
    words: Sequence[str | Path], *, cwd: Path, env: Mapping[str, str]
) -> AsyncIterator[Command]:
    """Run a command inside the block, and end it at its end."""
    process = await asyncio.create_subprocess_exec(
        *words,
        cwd=cwd,
        env=env,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    command = Command(process)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(command.read())
        try:
            yield command
        finally:
            try:
                await command.end()
            except TimeoutError:
                process.kill()
                raise


async def run(
    words: Sequence[str | Path], *, cwd: Path, env: Mapping[str, str]
) -> tuple[int, str]:
    """Run a command to its end. Return its exit code and its output."""
    async with running(words, cwd=cwd, env=env) as command, asyncio.timeout(HANG_SECONDS):
        code = await command.process.wait()
    return code, command.output


async def until_ready(http: aiohttp.ClientSession, port: int, command: Command) -> None:
    """Poll ``/readyz`` until it answers with 200."""
    async with asyncio.timeout(HANG_SECONDS):
        while True:
            try:
                async with http.get(f"http://127.0.0.1:{port}/readyz") as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            assert command.process.returncode is None, command.output
            await asyncio.sleep(0.02)

"""Listeners and gateways as real processes, and clients that record what they receive."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
import jwt

from tests.support.preforked import Program, start_program

ROOT: Final = Path(__file__).parents[2]
SECRET: Final = "a secret for tests that is long enough"
HANG_SECONDS: Final = 20.0  # only to catch hangs
WS_PATH: Final = "/api/v1/messages/ws"


def token(user_id: str, **claims: Any) -> str:
    return jwt.encode(
        {"sub": user_id, "exp": 4_000_000_000, **claims}, SECRET, algorithm="HS256"
    )


async def eventually(is_so: Callable[[], bool], what: str) -> None:
    """Poll until *is_so* returns true. *what* names it in the failure."""
    async with asyncio.timeout(HANG_SECONDS):
        while not is_so():
            await asyncio.sleep(0.01)
    assert is_so(), what


@dataclass
class Part:
    """A listener, a gateway or the demo: a process with its port and its log lines."""

    module: str
    environment: dict[str, str]
    port: int
    lines: list[dict[str, Any]] = field(default_factory=list)
    raw_lines: list[str] = field(default_factory=list)
    process: asyncio.subprocess.Process | Program | None = None
    before: Callable[[], None] | None = None  # called in the new process before it runs
    _reading: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        environment = {**os.environ, **self.environment}
        if self.before is None:
            self.process = await start_program(self.module, cwd=ROOT, env=environment)
        else:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                self.module,
                cwd=ROOT,
                env=environment,
                stderr=asyncio.subprocess.PIPE,
                preexec_fn=self.before,
            )
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process is not None
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            self.raw_lines.append(line.decode())
            try:
                self.lines.append(json.loads(line))
            except ValueError:
                continue

    def logged(self, message: str, **fields: Any) -> bool:
        return any(
            line["message"] == message and fields.items() <= line.items() for line in self.lines
        )

    async def ready(
        self, http: aiohttp.ClientSession, *, status: int = 200, **body: Any
    ) -> None:
        """Wait until /readyz returns this status and these fields."""
        async with asyncio.timeout(HANG_SECONDS):
            while True:
                try:
                    async with http.get(f"{self.url}/readyz") as response:
                        if (
                            response.status == status
                            and body.items() <= (await response.json()).items()
                        ):
                            return
                except aiohttp.ClientError:
                    pass
                assert self.process is None or self.process.returncode is None, self.raw_lines
                await asyncio.sleep(0.01)

    async def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Signal it, and return its exit code."""
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(number)
        return await self.exited()

    async def exited(self) -> int:
        assert self.process is not None
        assert self._reading is not None
        try:
            async with asyncio.timeout(HANG_SECONDS):
                code = await self.process.wait()
                await self._reading
        except TimeoutError:
            self.process.kill()
            raise AssertionError(f"{self.module} does not end: {self.raw_lines}") from None
        return code


class Client:
    """A client that records the frames it receives, in order."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.raw: list[str] = []

    async def next(self) -> dict[str, Any]:
        async with asyncio.timeout(HANG_SECONDS):
            message = await self.socket.receive()
        assert message.type is aiohttp.WSMsgType.TEXT, (message, self.socket.close_code)
        self.raw.append(message.data)
        frame: dict[str, Any] = json.loads(message.data)
        return frame

    async def until(self, is_last: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
        frames = [await self.next()]
        while not is_last(frames[-1]):
            frames.append(await self.next())
        return frames

    async def closed(self) -> int | None:
        """Read all remaining frames and return the close code."""
        async with asyncio.timeout(HANG_SECONDS):
            while not self.socket.closed:
                await self.socket.receive()
        return self.socket.close_code


@asynccontextmanager
async def connected(
    http: aiohttp.ClientSession,
    gateway: Part,
    project_id: str,
    user_id: str,
    *,
    v1: bool = False,
) -> AsyncIterator[Client]:
    """Yield a connected client that has not read its greeting yet."""
    async with connected_by(http, gateway, project_id, token(user_id), v1=v1) as client:
        yield client


@asynccontextmanager
async def connected_by(
    http: aiohttp.ClientSession,
    gateway: Part,
    project_id: str,
    bearer: str,
    *,
    v1: bool = False,
) -> AsyncIterator[Client]:
    """Like ``connected``, with a given token."""
    async with http.ws_connect(
        f"{gateway.url}{WS_PATH}?project_id={project_id}",
        headers={} if v1 else {"Authorization": f"Bearer {bearer}"},
        protocols=("neverstale.v1", f"bearer.{bearer}") if v1 else (),
    ) as socket:
        assert socket.protocol == ("neverstale.v1" if v1 else None)
        yield Client(socket)

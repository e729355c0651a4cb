"""What attacks must not affect: a v1 client, the app's writes to its project, and log-ins."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

import aiohttp
import asyncpg

from tests.attack.scene import Scene
from tests.support.inspection import rss_mib
from tests.support.processes import WS_PATH, Part, token
from tests.support.resuming_client import ResumingClient

WRITES_PER_SECOND: Final = 50.0
LOGIN_SECONDS: Final = 0.2
LOGIN_PATIENCE_SECONDS: Final = 5.0
SAMPLE_SECONDS: Final = 0.1
_INSERT: Final = "insert into tasks (id, project_id, title) values ($1::uuid, $2::uuid, 'x')"


class Victim(ResumingClient):
    """A v1 client that resumes, and records when it received what."""

    def __init__(self, http: aiohttp.ClientSession, scene: Scene) -> None:
        world = scene.world
        super().__init__(http, [scene.gateway], world.apollo, world.ada)
        self.received_at: dict[str, float] = {}
        self.reset_at: list[float] = []

    def receive(self, frame: dict[str, Any]) -> None:
        now, resets = time.perf_counter(), self.resets
        super().receive(frame)
        if frame["type"] == "cache_invalidate":
            self.received_at.setdefault(frame["data"]["id"], now)
        if self.resets > resets:
            self.reset_at.append(now)


@dataclass(frozen=True)
class Change:
    """A committed row, with the times at which its transaction was sent and acknowledged."""

    id: str
    sent_at: float
    committed_at: float


class App:
    """Commits a steady stream of changes in the victim's project."""

    def __init__(self, scene: Scene) -> None:
        self._url = scene.world.database_url
        self._project = scene.world.apollo
        self.changes: list[Change] = []

    async def run(self) -> None:
        """Write at a fixed rate. Never returns."""
        connection = await asyncpg.connect(self._url)
        try:
            insert = await connection.prepare(_INSERT)
            started = time.perf_counter()
            while True:
                due = started + len(self.changes) / WRITES_PER_SECOND
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                row, sent_at = str(uuid4()), time.perf_counter()
                await insert.fetch(row, self._project)
                self.changes.append(Change(row, sent_at, time.perf_counter()))
        finally:
            connection.terminate()

    def within(self, since: float, until: float) -> list[Change]:
        """Return the changes that were committed in this interval."""
        return [each for each in self.changes if since <= each.committed_at < until]


class Logins:
    """A new v1 handshake with a valid token every 200 ms."""

    def __init__(self, scene: Scene) -> None:
        world = scene.world
        self._url = f"{scene.gateway.url}{WS_PATH}?project_id={world.apollo}"
        self._protocols = ("neverstale.v1", f"bearer.{token(world.grace)}")
        self.seconds: list[float] = []
        self.failures: list[str] = []
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Return once stopped, when the last one has succeeded or failed."""
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http,
            asyncio.TaskGroup() as tasks,
        ):
            while not self._stop.is_set():
                tasks.create_task(self._log_in(http))
                await asyncio.sleep(LOGIN_SECONDS)

    def stop(self) -> None:
        self._stop.set()

    async def _log_in(self, http: aiohttp.ClientSession) -> None:
        started = time.perf_counter()
        try:
            async with (
                asyncio.timeout(LOGIN_PATIENCE_SECONDS),
                http.ws_connect(self._url, protocols=self._protocols) as socket,
            ):
                message = await socket.receive()
                if message.type is not aiohttp.WSMsgType.TEXT:
                    self.failures.append(f"closed with {socket.close_code}")
                    return
                frame = json.loads(message.data)
                if frame["type"] != "connected":
                    self.failures.append(f"told {frame['type']}")
                    return
                self.seconds.append(time.perf_counter() - started)
        except (aiohttp.ClientError, OSError, TimeoutError) as exc:
            self.failures.append(type(exc).__name__)


class Memory:
    """Initial and peak resident memory of processes, in MiB."""

    def __init__(self, parts: list[Part]) -> None:
        self._parts = parts
        self.first = [rss_mib(part) for part in parts]
        self.most = list(self.first)

    async def watch(self) -> None:
        """Sample the memory. Never returns."""
        while True:
            for number, part in enumerate(self._parts):
                if is_running(part):
                    self.most[number] = max(self.most[number], rss_mib(part))
            await asyncio.sleep(SAMPLE_SECONDS)


def is_running(part: Part) -> bool:
    return part.process is not None and part.process.returncode is None


@contextmanager
def running(*services: Callable[[], Any]) -> Iterator[None]:
    """Run services that never return during the body, then cancel them."""
    tasks = [asyncio.get_running_loop().create_task(service()) for service in services]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()

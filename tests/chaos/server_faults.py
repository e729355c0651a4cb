"""Faults of Redis and PostgreSQL: each lasts a while and is then repaired."""

import asyncio
import os
import random
import signal
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import redis.asyncio
from redis.exceptions import RedisError

from deploy.dev.servers import ValkeyServer
from tests.chaos.stack import ProxiedStack
from tests.support.servers import start_again

ANSWER_SECONDS: Final = 2.0


class RedisFault:
    """Redis dies, freezes, restarts from an older snapshot, runs full or evicts keys."""

    def __init__(self, server: ValkeyServer, random_: random.Random) -> None:
        self._server = server
        self._random = random_

    def of(self, kind: str) -> Callable[[float], Awaitable[None]]:
        return {
            "redis kill": self.kill,
            "redis restart": self.restart,
            "redis freeze": self.freeze,
            "redis older": self.come_back_older,
            "redis full": self.run_full,
            "redis evict logs": self.evict_logs,
            "redis evict state": self.evict_state,
        }[kind]

    async def kill(self, seconds: float) -> None:
        self._server.kill()
        await asyncio.sleep(seconds)
        await start_again(self._server)

    async def restart(self, seconds: float) -> None:
        await asyncio.to_thread(self._server.stop)
        await asyncio.sleep(seconds)
        await start_again(self._server)

    async def freeze(self, seconds: float) -> None:
        self._server.freeze()
        await asyncio.sleep(seconds)
        self._server.thaw()

    async def come_back_older(self, seconds: float) -> None:
        """Restart Redis from a snapshot, without what was written after it."""
        await self._command("SAVE")
        await asyncio.sleep(seconds)
        self._server.kill()
        await start_again(self._server)
        (self._server.folder / "dump.rdb").unlink(missing_ok=True)

    async def run_full(self, seconds: float) -> None:
        await self._command("CONFIG", "SET", "maxmemory-policy", "noeviction")
        await self._command("CONFIG", "SET", "maxmemory", "1")
        await asyncio.sleep(seconds)
        await self._command("CONFIG", "SET", "maxmemory", "0")

    async def evict_logs(self, seconds: float) -> None:
        """Delete some of the channel logs, as an eviction might."""
        keys = await self._command("KEYS", "*:log")
        for key in sorted(keys if isinstance(keys, list) else []):
            if self._random.random() < 0.5:
                await self._command("DEL", key)

    async def evict_state(self, seconds: float) -> None:
        await self._command("DEL", "neverstale:state")

    async def _command(self, *words: str | bytes) -> object:
        """Run a command. Ignores a Redis that does not answer: another fault is in progress."""
        with suppress(RedisError, OSError, TimeoutError):
            async with asyncio.timeout(ANSWER_SECONDS):
                async with redis.asyncio.Redis.from_url(self._server.url) as client:
                    answer: object = await client.execute_command(*words)  # type: ignore[no-untyped-call]
                    return answer
        return None


class PostgresFault:
    """PostgreSQL crashes, restarts, freezes or loses one backend process."""

    def __init__(self, stack: ProxiedStack) -> None:
        self._stack = stack
        self._server = stack.postgres

    def of(self, kind: str) -> Callable[[float], Awaitable[None]]:
        return {
            "postgresql crash": self.crash,
            "postgresql restart": self.restart,
            "postgresql freeze": self.freeze,
            "postgresql backend crash": self.crash_backend,
        }[kind]

    async def crash(self, seconds: float) -> None:
        backends = self._backends()
        self._server.kill()
        _signal_each(backends, signal.SIGKILL)
        await asyncio.sleep(seconds)
        await start_again(self._server)

    async def restart(self, seconds: float) -> None:
        await asyncio.to_thread(self._server.stop)
        await asyncio.sleep(seconds)
        await start_again(self._server)

    async def freeze(self, seconds: float) -> None:
        self._server.freeze()
        backends = self._backends()
        _signal_each(backends, signal.SIGSTOP)
        await asyncio.sleep(seconds)
        _signal_each(backends, signal.SIGCONT)
        self._server.thaw()

    async def crash_backend(self, seconds: float) -> None:
        """Kill a backend: the server ends all sessions and recovers without being restarted."""
        backends = self._backends()
        _signal_each(backends[-1:], signal.SIGKILL)

    def _backends(self) -> list[int]:
        """The server's processes except the postmaster. Each has its own session (setsid)."""
        assert self._server.process is not None
        pid = self._server.process.pid
        return [
            int(child)
            for children in Path(f"/proc/{pid}/task").glob("*/children")
            for child in children.read_text().split()
        ]


def _signal_each(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)

"""Breaks Redis and PostgreSQL, each for a while, and mends them."""

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

from tests.chaos.stack import Stack
from tests.support.servers import start_again

ANSWER_SECONDS: Final = 2.0


class RedisFault:
    """What Redis may do: die, freeze, come back older, run full, drop keys."""

    def __init__(self, stack: Stack, random_: random.Random) -> None:
        self._stack = stack
        self._server = stack.valkey
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
        """It loses what was written after a snapshot."""
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
        """Some of the channel logs, as an eviction would choose."""
        keys = await self._command("KEYS", "*:log")
        for key in sorted(keys if isinstance(keys, list) else []):
            if self._random.random() < 0.5:
                await self._command("DEL", key)

    async def evict_state(self, seconds: float) -> None:
        await self._command("DEL", "neverstale:state")

    async def _command(self, *words: str | bytes) -> object:
        """Nothing happens if it does not answer: then another fault is under way."""
        with suppress(RedisError, OSError, TimeoutError):
            async with asyncio.timeout(ANSWER_SECONDS):
                async with redis.asyncio.Redis.from_url(self._server.url) as client:
                    answer: object = await client.execute_command(*words)  # type: ignore[no-untyped-call]
                    return answer
        return None


class PostgresFault:
    """What PostgreSQL may do: crash, restart, freeze, lose a session's process."""

    def __init__(self, stack: Stack) -> None:
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
        """The server ends all sessions, and recovers as from a crash, without a new start."""
        backends = self._backends()
        _signal_each(backends[-1:], signal.SIGKILL)

    def _backends(self) -> list[int]:
        """The server's processes but the first; each is a session (setsid) of its own."""
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

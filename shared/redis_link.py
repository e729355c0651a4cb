"""Commands to Redis or Valkey.

One client whose every failure is told, never silently retried.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.connection import HiredisRespSerializer
from redis.exceptions import RedisError

TIMEOUT_SECONDS: Final = 5.0

Client: TypeAlias = "redis.asyncio.Redis"
Pipeline: TypeAlias = "redis.asyncio.client.Pipeline"


class RedisLost(Exception):
    """Redis did not answer, or not as it must: what was asked may or may not have been done."""


class _PacksByHiredis:
    """A connection that packs commands in C, as redis-py's synchronous ones do."""

    _serializer: Final = HiredisRespSerializer()

    def pack_command(self, *args: Any) -> list[bytes]:
        packed: list[bytes] = self._serializer.pack(*args)
        return packed


def connect(url: str) -> Client:
    """A client for commands. redis-py's own retries are off: they would hide a gap from us."""
    client = redis.asyncio.Redis.from_url(
        url,
        # redis-py enforces it by asyncio.wait_for, which in Python 3.11 loses a cancellation
        # that comes as the command completes: the deadline is in telling_loss instead
        socket_timeout=None,
        socket_connect_timeout=TIMEOUT_SECONDS,
        socket_keepalive=True,
        retry=Retry(NoBackoff(), 0),
        retry_on_timeout=False,
        protocol=2,
    )
    pool = client.connection_pool
    pool.connection_class = type("Connection", (_PacksByHiredis, pool.connection_class), {})
    return client


@asynccontextmanager
async def telling_loss() -> AsyncIterator[None]:
    """Turns whatever the library raises inside, and silence, into ``RedisLost``."""
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            yield
    except (RedisError, OSError) as exc:
        raise RedisLost(f"{type(exc).__name__}: {exc}") from exc


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script that was loaded into Redis.

    A server that has forgotten it (restarted, flushed) answers NOSCRIPT: that is a lost link,
    and whoever starts over loads it again.
    """

    sha: str

    @classmethod
    async def load(cls, client: Client, source: str) -> "Script":
        """Raises: whatever redis-py does; call it inside ``telling_loss``."""
        return cls(_text(await client.script_load(source)))

    def queue(self, pipeline: Pipeline, key: str, *arguments: str | bytes | int) -> None:
        """Queue a run of it on its one key."""
        pipeline.evalsha(self.sha, 1, key, *arguments)  # type: ignore[unused-awaitable]

    async def run(self, client: Client, key: str, *arguments: str | bytes | int) -> Any:
        """Run it on its one key."""
        return await client.evalsha(self.sha, 1, key, *arguments)


async def read_identity(client: Client) -> str:
    """Which server, and which stretch of its history.

    Changes with a restart, and with a failover.
    """
    server: Mapping[str, Any] = await client.info("server")
    replication: Mapping[str, Any] = await client.info("replication")
    # some managed services tell neither: their failovers can't be told from here
    return f"{server.get('run_id', '')}.{replication.get('master_replid', '')}"


async def read_state(client: Client, key: str) -> dict[str, str]:
    """The leader's state as it is stored; empty where there is none."""
    fields = await client.hgetall(key)
    return {_text(name): _text(value) for name, value in fields.items()}


def _text(value: bytes | str) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value

"""Commands to Redis or Valkey.

One client whose every failure is told, never silently retried.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ssl import SSLContext
from typing import Any, Final, TypeAlias

import redis.asyncio
from redis.asyncio.connection import (
    AbstractConnection,
    Connection,
    ConnectionPool,
    RedisSSLContext,
    SSLConnection,
    UnixDomainSocketConnection,
)
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.connection import HiredisRespSerializer
from redis.exceptions import RedisError

from shared.core.redis_url import FILES, RedisUrl, parse_redis_url
from shared.tls import check_files

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
    target = parse_redis_url(url)
    kind: type[AbstractConnection] = UnixDomainSocketConnection
    where: dict[str, Any] = {"path": target.socket}
    if not target.socket:
        kind = Connection if target.tls is None else SSLConnection
        where = {"host": target.host, "port": target.port, "socket_keepalive": True}
        where |= target.tls or {}
    pool = ConnectionPool(
        connection_class=type("Connection", (_PacksByHiredis, kind), {}),
        **where,
        db=target.database,
        username=target.user or None,
        password=target.password or None,
        # redis-py enforces it by asyncio.wait_for, which in Python 3.11 loses a cancellation
        # that comes as the command completes: the deadline is in telling_loss instead
        socket_timeout=None,
        socket_connect_timeout=TIMEOUT_SECONDS,
        retry=Retry(NoBackoff(), 0),
        retry_on_timeout=False,
        protocol=2,
    )
    return redis.asyncio.Redis.from_pool(pool)


def check_redis_url(url: str) -> tuple[str, ...]:
    """The parameters that have no effect here. Raises ``InvalidUrl``."""
    target = parse_redis_url(url)
    tls = target.tls or {}
    check_files(
        {name: str(tls[name]) for name in FILES if name in tls}, lambda: tls_context(target)
    )
    return target.ignored


def tls_context(target: RedisUrl) -> SSLContext | None:
    """The context that redis-py's own connections have; None without TLS.

    Raises ``OSError`` where a file can't be read.
    """
    if target.tls is None:
        return None
    tls: dict[str, Any] = {
        name.removeprefix("ssl_"): value for name, value in target.tls.items()
    }
    return RedisSSLContext(**tls).get()


def describe_error(exc: Exception) -> str:
    """The error as it may be logged: Redis repeats the arguments of a command it does not know,
    and those of AUTH are secret.
    """
    return f"{type(exc).__name__}: {str(exc).partition(', with args')[0]}"


@asynccontextmanager
async def telling_loss() -> AsyncIterator[None]:
    """Turns whatever the library raises inside, and silence, into ``RedisLost``."""
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            yield
    except (RedisError, OSError) as exc:
        raise RedisLost(describe_error(exc)) from exc


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

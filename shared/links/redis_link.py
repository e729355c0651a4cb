"""Commands to Redis or Valkey.

One client whose every failure is told, never silently retried, and ends all its connections:
the next command goes to whatever server the address leads to by then.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from ssl import SSLContext
from typing import Any, Final, TypeAlias, cast

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
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)

from shared.links.redis_server import RedisServer, describe_server, has_moved
from shared.links.redis_url import FILES, RedisUrl, parse_redis_url
from shared.links.tls import check_files

TIMEOUT_SECONDS: Final = 5.0
LOOK_SECONDS: Final = 5.0  # between two looks at where the address leads
_LOOK_TIMEOUT_SECONDS: Final = 1.0
_CLOSE_SECONDS: Final = 1.0
# What a server answers that is no place for us (any more): READONLY, MASTERDOWN, LOADING,
# MOVED, CLUSTERDOWN, NOREPLICAS, MISCONF, NOAUTH, WRONGPASS, NOPERM, ...
_REFUSALS: Final = (ResponseError, AuthenticationError, BusyLoadingError)

Pipeline: TypeAlias = "redis.asyncio.client.Pipeline"


class RedisLost(Exception):
    """Redis did not answer, or not as it must: what was asked may or may not have been done."""


class Client(redis.asyncio.Redis):
    """Commands, on connections that are all given up when one has failed."""

    refusals = 0  # commands that a server refused, though its connection works

    async def drop_connections(self) -> None:
        """Use none of the present connections again."""
        pool = self.connection_pool
        await pool.update_active_connections_for_reconnect()  # type: ignore[no-untyped-call]
        with suppress(RedisError, OSError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await pool.disconnect(inuse_connections=False)

    def on_new_connection(self) -> "Client":
        """A separate client, which the caller closes."""
        pool = self.connection_pool
        other = redis.asyncio.ConnectionPool(pool.connection_class, **pool.connection_kwargs)
        return cast(Client, Client.from_pool(other))


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
    return cast(Client, Client.from_pool(pool))


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
async def telling_loss(client: Client) -> AsyncIterator[None]:
    """Turns whatever the library raises inside, and silence, into ``RedisLost``."""
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            yield
    except (RedisError, OSError) as exc:
        # a full server still is the one to stay with
        client.refusals += isinstance(exc, _REFUSALS) and not isinstance(exc, OutOfMemoryError)
        await client.drop_connections()
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


async def read_server(client: Client) -> RedisServer:
    """The server that answers now, which is a primary."""
    server = await _ask_server(client)
    if not server.is_primary:
        # one that takes writes would keep them to itself
        raise ReadOnlyError("this server is a replica: REDIS_URL must lead to the primary")
    return server


async def _ask_server(client: Client) -> RedisServer:
    info: Mapping[str, Any] = await client.info("server")
    return describe_server({**info, **await client.info("replication")})


async def has_moved_on(client: Client, own: RedisServer) -> bool:
    """Whether the address leads to another primary than *own* by now, which still answers.

    Asked on a new connection; if that fails, nothing speaks for leaving.
    """
    try:
        async with asyncio.timeout(_LOOK_TIMEOUT_SECONDS), client.on_new_connection() as other:
            return has_moved(own, await _ask_server(other))
    except (RedisError, OSError):
        return False


async def read_state(client: Client, key: str) -> dict[str, str]:
    """The leader's state as it is stored; empty where there is none."""
    fields = await client.hgetall(key)
    return {_text(name): _text(value) for name, value in fields.items()}


def _text(value: bytes | str) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value

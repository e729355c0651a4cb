"""Sends commands to Redis or Valkey.

A failure is raised, never silently retried, and closes all connections of the client: the next
command connects again, perhaps to another server at the same address.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
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
LOOK_SECONDS: Final = 5.0  # between two checks of which server the address leads to
_LOOK_TIMEOUT_SECONDS: Final = 1.0
_CLOSE_SECONDS: Final = 1.0
# Answers of a server that cannot serve us (any more): READONLY, MASTERDOWN, LOADING, MOVED,
# CLUSTERDOWN, NOREPLICAS, MISCONF, NOAUTH, WRONGPASS, NOPERM, ...
_REFUSALS: Final = (ResponseError, AuthenticationError, BusyLoadingError)

Pipeline: TypeAlias = "redis.asyncio.client.Pipeline"
Locate: TypeAlias = Callable[[], Awaitable[tuple[str, int]]]


class RedisLost(Exception):
    """Redis failed to answer properly; the command may or may not have been executed."""


class Client(redis.asyncio.Redis):
    """A client that gives up all its connections when one has failed."""

    refusals = 0  # commands that a server refused, though its connection works

    async def drop_connections(self) -> None:
        """Close the idle connections now, and those in use after their commands."""
        pool = self.connection_pool
        await pool.update_active_connections_for_reconnect()  # type: ignore[no-untyped-call]
        with suppress(RedisError, OSError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await pool.disconnect(inuse_connections=False)

    def on_new_connection(self) -> "Client":
        """Return a separate client, which the caller closes."""
        pool = self.connection_pool
        other = redis.asyncio.ConnectionPool(pool.connection_class, **pool.connection_kwargs)
        return cast(Client, Client.from_pool(other))


class _PacksByHiredis:
    """A connection that serializes commands in C, like redis-py's synchronous connections."""

    _serializer: Final = HiredisRespSerializer()

    def pack_command(self, *args: Any) -> list[bytes]:
        packed: list[bytes] = self._serializer.pack(*args)
        return packed


class _LocatesServer:
    """A connection whose server is looked up each time that it connects."""

    locate: Locate
    host: str
    port: int

    async def _connect(self) -> None:
        self.host, self.port = await self.locate()
        await super()._connect()  # type: ignore[misc]


def connect(target: RedisUrl, locate: Locate | None = None) -> Client:
    """Return a client. redis-py's own retries are off: they would hide a gap.

    Each connection is to the address that *locate* returns, which raises ``RedisLost`` if it
    finds none; by default to the first of the target's.
    """
    kind: type[AbstractConnection] = UnixDomainSocketConnection
    where: dict[str, Any] = {"path": target.socket}
    if not target.socket:
        kind = Connection if target.tls is None else SSLConnection
        where = {"host": target.host, "port": target.port, "socket_keepalive": True}
        where |= target.tls or {}
    connection_class = type("Connection", (_PacksByHiredis, kind), {})
    if locate is not None:
        own = {"locate": staticmethod(locate)}
        connection_class = type("Connection", (_LocatesServer, connection_class), own)
    pool = ConnectionPool(
        connection_class=connection_class,
        **where,
        db=target.database,
        username=target.user or None,
        password=target.password or None,
        # redis-py implements it by asyncio.wait_for, which in Python 3.11 loses a cancellation
        # that arrives as the command completes: translated_errors has the deadline instead
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
    """Return the TLS context of redis-py's connections; None without TLS.

    Raises ``OSError`` if a file cannot be read.
    """
    if target.tls is None:
        return None
    tls: dict[str, Any] = {
        name.removeprefix("ssl_"): value for name, value in target.tls.items()
    }
    return RedisSSLContext(**tls).get()


def describe_error(exc: Exception) -> str:
    """Return the error without arguments, for logs.

    Redis repeats the arguments of a command it does not know, and those of AUTH are secret.
    """
    return f"{type(exc).__name__}: {str(exc).partition(', with args')[0]}"


@asynccontextmanager
async def translated_errors(
    client: Client, seconds: float = TIMEOUT_SECONDS
) -> AsyncIterator[None]:
    """Turn errors of the library and a timeout inside the block into ``RedisLost``."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except (RedisError, OSError) as exc:
        # a full server is still the right one
        client.refusals += isinstance(exc, _REFUSALS) and not isinstance(exc, OutOfMemoryError)
        await client.drop_connections()
        raise RedisLost(describe_error(exc)) from exc


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script that was loaded into Redis.

    A server that has lost it (restarted, flushed) answers NOSCRIPT. That counts as a lost link,
    and the script is loaded again with the next connection.
    """

    sha: str

    @classmethod
    async def load(cls, client: Client, source: str) -> "Script":
        """Load a script. Raises redis-py's errors: call it inside ``translated_errors``."""
        return cls(_text(await client.script_load(source)))

    def queue(self, pipeline: Pipeline, key: str, *arguments: str | bytes | int) -> None:
        """Queue a call of the script with one key."""
        pipeline.evalsha(self.sha, 1, key, *arguments)  # type: ignore[unused-awaitable]

    async def run(self, client: Client, key: str, *arguments: str | bytes | int) -> Any:
        """Call the script with one key."""
        return await client.evalsha(self.sha, 1, key, *arguments)


async def read_server(client: Client) -> RedisServer:
    """Return the server that answers. Raises ``ReadOnlyError`` if it is a replica."""
    server = await _ask_server(client)
    if not server.is_primary:
        # writes to a writable replica would stay there
        raise ReadOnlyError("this server is a replica: REDIS_URL must lead to the primary")
    return server


async def _ask_server(client: Client) -> RedisServer:
    info: Mapping[str, Any] = await client.info("server")
    return describe_server({**info, **await client.info("replication")})


async def has_moved_on(client: Client, own: RedisServer) -> bool:
    """Whether the address now leads to another primary, although *own* still answers.

    Checked on a new connection; if that fails, the answer is no.
    """
    try:
        async with asyncio.timeout(_LOOK_TIMEOUT_SECONDS), client.on_new_connection() as other:
            return has_moved(own, await _ask_server(other))
    except (RedisError, OSError):
        return False


async def read_output_buffer(client: Client, client_id: int) -> int | None:
    """Return the bytes that Redis has yet to send to one of our connections.

    None: the connection has ended, or an ACL forbids the question. Raises ``RedisLost``.
    """
    async with translated_errors(client):
        try:
            found = await client.client_list(client_id=[str(client_id)])
        except ResponseError:
            return None
    return int(found[0]["omem"]) if found else None


async def read_state(client: Client, key: str) -> dict[str, str]:
    """Return the leader's state as it is stored; empty if there is none."""
    fields = await client.hgetall(key)
    return {_text(name): _text(value) for name, value in fields.items()}


def _text(value: bytes | str) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value

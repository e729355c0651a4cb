"""The HTTP server of listener and gateway, with health and metrics endpoints."""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from typing import Any, Final, TypeAlias, TypeVar

import orjson
from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from shared.http.connection import HttpConnection
from shared.http.connection_limits import HttpConnectionLimiter, HttpLimits
from shared.http.upgrades import NewConnection, UpgradeHandler
from shared.runtime.descriptors import raise_descriptor_limit
from shared.runtime.lifecycle import FatalError

# Many clients may connect at once. A connection over the backlog is retried after a second.
BACKLOG: Final = 4096
# By default the kernel lets its buffers grow to several MB for a client that does not read, or
# that is not read. It doubles these numbers. Accepted sockets inherit them.
KERNEL_SEND_BYTES: Final = 128 * 1024
KERNEL_RECEIVE_BYTES: Final = 32 * 1024
# A client that has gone without closing acknowledges nothing. By default the kernel gives up on
# it after a quarter of an hour. A WebSocket's client is pinged in addition.
UNACKNOWLEDGED_MS: Final = 45_000
METRICS_SECONDS: Final = 0.25  # rendering takes milliseconds, and any client may ask for it
# A process that fails must not keep its connections for aiohttp's 60 s: they get no events.
# At a regular shutdown they were closed before.
SHUTDOWN_SECONDS: Final = 1.0

# Whether a process may take traffic, and further fields of ``/readyz``.
Readiness: TypeAlias = tuple[bool, dict[str, Any]]
Made = TypeVar("Made")

log = logging.getLogger(__name__)


async def serve(
    app: web.Application,
    host: str,
    port: int,
    *,
    setting: str,
    limits: HttpLimits | None = None,
    registry: CollectorRegistry | None = None,
    sockets: Sequence[socket.socket] = (),
    upgrades: UpgradeHandler | None = None,
) -> None:
    """Serve until cancelled, on *sockets* that are bound already if there are any; *upgrades*
    answers the upgrade requests for its path.

    Raises:
        FatalError: the port is not available; the text names the *setting*.
    """
    limits = limits or HttpLimits()
    runner = web.AppRunner(app, shutdown_timeout=SHUTDOWN_SECONDS)
    await runner.setup()
    server = runner.server
    assert server is not None  # noqa: S101 it was set up
    max_open = raise_descriptor_limit(limits.max_connections + limits.max_sockets)
    limiter = HttpConnectionLimiter(limits, max_open, registry)
    loop = asyncio.get_running_loop()

    def make_http() -> asyncio.Protocol:
        return HttpConnection(server, limiter, loop, upgrades)

    def accept() -> asyncio.Protocol:
        return make_http() if upgrades is None else NewConnection(limiter, upgrades, make_http)

    where: list[dict[str, Any]] = [{"sock": bound} for bound in sockets]
    try:
        with ExitStack() as listening:
            for one in where or [{"host": host, "port": port}]:
                started = await loop.create_server(
                    accept, **one, backlog=BACKLOG, start_serving=False
                )
                listening.callback(started.close)
                for each in started.sockets:
                    each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_SEND_BYTES)
                    each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, KERNEL_RECEIVE_BYTES)
                    each.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
                        each.setsockopt(
                            socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MS
                        )
                await started.start_serving()
            await asyncio.Event().wait()
    except OSError as exc:
        raise FatalError(
            f"can't listen on port {port} ({exc.strerror}): set {setting} to another"
        ) from exc
    finally:
        await runner.cleanup()
        await limiter.abort_all()


def health_routes(
    registry: CollectorRegistry, ready: Callable[[], Readiness]
) -> list[web.RouteDef]:
    """Routes of ``/healthz``, ``/readyz`` and ``/metrics`` for this process alone."""

    async def render() -> bytes:
        return generate_latest(registry)

    async def answer() -> Readiness:
        return ready()

    return joint_health_routes(render, answer)


def joint_health_routes(
    render: Callable[[], Awaitable[bytes]], ready: Callable[[], Awaitable[Readiness]]
) -> list[web.RouteDef]:
    """The same routes, for processes that have to be asked.

    Metrics are up to ``METRICS_SECONDS`` old.
    """

    async def healthz(_: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def readyz(_: web.Request) -> web.Response:
        is_ready, details = await ready()
        body = {"status": "ready" if is_ready else "not ready", **details}
        return web.json_response(body, status=200 if is_ready else 503, dumps=_dumps)

    render = at_intervals(render)

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=await render(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return [
        web.get("/healthz", healthz),
        web.get("/readyz", readyz),
        web.get("/metrics", metrics),
    ]


def at_intervals(make: Callable[[], Awaitable[Made]]) -> Callable[[], Awaitable[Made]]:
    """Return a function that makes a new value no more often than every ``METRICS_SECONDS``,
    however many ask for it.
    """
    making = asyncio.Lock()
    made: tuple[Made, float] | None = None

    async def get() -> Made:
        nonlocal made
        time = asyncio.get_running_loop().time
        async with making:
            if made is None or time() - made[1] >= METRICS_SECONDS:
                made = (await make(), time())
            return made[0]

    return get


def _dumps(value: Any) -> str:
    return orjson.dumps(value).decode()

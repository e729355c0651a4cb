"""The HTTP that listener and gateway have in common.

Serving, and the endpoints alive, ready, metrics.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import orjson
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestHandler
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from shared.core.close_codes import Refusal
from shared.core.protocol import error_body
from shared.lifecycle import FatalError

BACKLOG: Final = (
    4096  # a fleet that comes back at once; what is over it waits a second to retry
)
HANDSHAKE_SECONDS: Final = 10.0
KEEPALIVE_SECONDS: Final = 620.0  # longer than load balancers keep theirs (Google's: 600)
MAX_HEADER_BYTES: Final = 32 * 1024  # so that too long a token is refused by us, in words
# Sockets were closed in order before. A process that fails must not keep those that were not
# for aiohttp's 60 s: nobody tells them anything any more.
SHUTDOWN_SECONDS: Final = 1.0

log = logging.getLogger(__name__)


class _NoQuotes(logging.Filter):
    """aiohttp logs a malformed request with an exception that quotes it, token and all."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and isinstance(record.exc_info[1], HttpProcessingError):
            record.levelno, record.levelname = logging.INFO, "INFO"
            record.msg, record.args, record.exc_info = "malformed request", (), None
        return True


log.addFilter(_NoQuotes())


class FirstRequests:
    """Cuts off whoever connects and does not send a whole request's headers in time.

    aiohttp bounds only how long a connection may be idle after its first request.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._waiting: dict[asyncio.BaseProtocol, asyncio.TimerHandle] = {}

    def awaiting(self, make: Callable[[], RequestHandler]) -> Callable[[], RequestHandler]:
        """Makes what *make* does, each with its deadline. No *seconds*: there is none."""
        loop = asyncio.get_running_loop()

        def made() -> RequestHandler:
            handler = make()
            self._waiting[handler] = loop.call_later(self._seconds, self._cut, handler)
            return handler

        return made if self._seconds else make

    @web.middleware
    async def note(
        self,
        request: web.Request,
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        """The first of a connection's requests came in time."""
        timer = self._waiting.pop(request.protocol, None)
        if timer is not None:
            timer.cancel()
        return await handler(request)

    def _cut(self, handler: RequestHandler) -> None:
        del self._waiting[handler]
        if handler.transport is not None:
            handler.transport.abort()


async def serve(
    app: web.Application,
    host: str,
    port: int,
    *,
    setting: str,
    handshake_seconds: float = HANDSHAKE_SECONDS,
) -> None:
    """Serve until cancelled.

    Raises:
        FatalError: the port can't be had; the text names the *setting*.
    """
    first_requests = FirstRequests(handshake_seconds)
    app.middlewares.insert(0, first_requests.note)
    runner = web.AppRunner(
        app,
        access_log=None,
        logger=log,
        max_field_size=MAX_HEADER_BYTES,
        keepalive_timeout=KEEPALIVE_SECONDS,
        shutdown_timeout=SHUTDOWN_SECONDS,
    )
    await runner.setup()
    assert runner.server is not None  # noqa: S101 it was set up
    try:
        make = first_requests.awaiting(runner.server)
        loop = asyncio.get_running_loop()
        server = await loop.create_server(make, host, port, backlog=BACKLOG)
        try:
            await asyncio.Event().wait()
        finally:
            server.close()
    except OSError as exc:
        raise FatalError(
            f"can't listen on port {port} ({exc.strerror}): set {setting} to another"
        ) from exc
    finally:
        await runner.cleanup()


def health_routes(
    registry: CollectorRegistry, ready: Callable[[], tuple[bool, dict[str, Any]]]
) -> list[web.RouteDef]:
    """Routes of ``/healthz``, ``/readyz`` and ``/metrics``.

    *ready* tells whether the process may take traffic, and what else ``/readyz`` says.
    """

    async def healthz(_: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def readyz(_: web.Request) -> web.Response:
        is_ready, details = ready()
        body = {"status": "ready" if is_ready else "not ready", **details}
        return web.json_response(body, status=200 if is_ready else 503, dumps=_dumps)

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )

    return [
        web.get("/healthz", healthz),
        web.get("/readyz", readyz),
        web.get("/metrics", metrics),
    ]


def json_error(
    status: int, code: str, message: str, headers: Mapping[str, str] | None = None
) -> web.Response:
    """A refusal as wire.md spells it."""
    return web.Response(
        status=status,
        body=error_body(code, message),
        content_type="application/json",
        headers=headers,
    )


def refusal_response(
    refusal: Refusal, headers: Mapping[str, str] | None = None
) -> web.Response:
    """The same of a refusal, with what else it has to say."""
    headers = dict(headers or {})
    if refusal.retry_after_seconds is not None:
        headers["Retry-After"] = str(refusal.retry_after_seconds)
    return json_error(refusal.status, refusal.code, refusal.message, headers)


def _dumps(value: Any) -> str:
    return orjson.dumps(value).decode()

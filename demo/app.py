"""Builds the demo's server: the API, and the page if it was built."""

import asyncio
import logging
from pathlib import Path
from typing import Final

import asyncpg
from aiohttp import web
from prometheus_client import CollectorRegistry

from demo.answers import api_rules
from demo.board import Board
from demo.crowd import Crowd
from demo.people import People
from demo.settings import DemoSettings
from shared.http.connection_limits import HttpLimits
from shared.http.server import health_routes, serve
from shared.links.postgres import connect_arguments
from shared.runtime.lifecycle import FatalError, run_until

_POLICY: Final = (
    "default-src 'self'; connect-src 'self' ws: wss: http: https:; img-src 'self' data:; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_IMMUTABLE: Final = "public, max-age=31536000, immutable"
_NO_PAGE: Final = (
    "The page is not built: install Node and run `make demo-page`. The API is here."
)


async def run_demo(settings: DemoSettings, stop: asyncio.Event) -> None:
    """Serve until *stop* is set. Raises ``FatalError``."""
    try:
        pool = await asyncpg.create_pool(
            **connect_arguments(settings.database_url.get_secret_value(), "neverstale demo"),
            min_size=1,
            max_size=8,
            command_timeout=10,
        )
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as exc:
        raise FatalError(f"cannot connect to DATABASE_URL: {exc}") from exc
    try:
        async with asyncio.TaskGroup() as tasks:
            people = People(
                pool,
                settings.jwt_secret.get_secret_value(),
                token_seconds=settings.token_seconds,
                gateway_port=settings.gateway_port,
            )
            crowd = Crowd(pool, tasks)
            await crowd.notify_all()
            app = web.Application(middlewares=[api_rules])
            app.on_response_prepare.append(_set_page_headers)
            app.add_routes(health_routes(CollectorRegistry(), lambda: (True, {})))
            app.add_routes([*people.routes(), *Board(pool, people, crowd).routes()])
            app.add_routes(_page_routes(settings.page_folder))
            limits = HttpLimits(body_paths=None)
            await run_until(
                stop, serve(app, settings.host, settings.port, setting="PORT", limits=limits)
            )
            crowd.stop()
    finally:
        pool.terminate()


def _page_routes(folder: Path) -> list[web.AbstractRouteDef]:
    if not (folder / "index.html").exists():
        logging.getLogger(__name__).warning("the page is not built: the API runs without it")
        return [web.get("/", _answer_without_page)]

    async def index(request: web.Request) -> web.FileResponse:
        return web.FileResponse(folder / request.path.strip("/") / "index.html")

    return [
        web.get("/", index),
        web.get("/plain/", index),
        web.static("/assets", folder / "assets"),
    ]


async def _answer_without_page(_: web.Request) -> web.Response:
    return web.Response(text=_NO_PAGE, status=404)


async def _set_page_headers(request: web.Request, response: web.StreamResponse) -> None:
    response.headers["Content-Security-Policy"] = _POLICY
    response.headers["X-Content-Type-Options"] = "nosniff"
    # The name of an asset contains a hash of its content, so it never changes. Pages are
    # revalidated each time, so that a new build shows at once.
    is_asset = request.path.startswith("/assets/") and response.status < 400
    response.headers.setdefault("Cache-Control", _IMMUTABLE if is_asset else "no-cache")

"""The aiohttp application: routes, readiness, and errors as JSON."""

import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from aiohttp import web

from gateway.access.checker import AccessChecker
from gateway.auth.key_sources import KeySource
from gateway.delivery.fanout import Fanout
from gateway.http.endpoint import WS_PATH, ClientEndpoint
from gateway.http.open_connections import OpenConnections
from shared.http.connection import MAX_BODY_BYTES
from shared.http.errors import json_error

log = logging.getLogger(__name__)


class Readiness:
    """What ``/readyz`` says."""

    def __init__(
        self,
        connections: OpenConnections,
        fanout: Fanout,
        access: AccessChecker,
        keys: KeySource,
    ) -> None:
        self._connections = connections
        self._fanout = fanout
        self._access = access
        self._keys = keys

    def check(self) -> tuple[bool, dict[str, Any]]:
        """Whether the gateway may take traffic, and the state of what it depends on.

        A listener or a database that is away only degrades: it is away for all gateways, and
        taking one out of rotation helps no client.
        """
        is_linked, is_draining = self._fanout.can_subscribe, self._connections.is_draining
        degraded = [] if self._fanout.is_live else ["listener"]
        degraded += ["keys"] if self._keys.state == "degraded" else []
        degraded += [] if self._access.is_available else ["database"]
        return is_linked and self._keys.state != "missing" and not is_draining, {
            "redis": is_linked,
            "keys": self._keys.state,
            "draining": is_draining,
            "degraded": degraded,
        }


def make_application(
    endpoint: ClientEndpoint,
    routes: Iterable[web.RouteDef],
) -> web.Application:
    """The application with further *routes*: the HTTP APIs, health and metrics.

    Handshakes do not reach it, only other requests for their paths.
    """
    app = web.Application(middlewares=[_errors_as_json], client_max_size=MAX_BODY_BYTES)
    app.add_routes([web.get(WS_PATH, endpoint.answer_plain_request)])
    app.add_routes(routes)
    return app


@web.middleware
async def _errors_as_json(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except ConnectionError:
        return web.Response(status=499)  # the client has gone, and does not read this
    except web.HTTPException as exc:
        code = {404: "not_found", 405: "method_not_allowed"}.get(exc.status, "bad_request")
        return json_error(exc.status, code, exc.text or exc.reason)
    except Exception:
        log.exception("request failed", extra={"path": request.path})
        return json_error(500, "internal", "something went wrong here")

"""Let pages of allowed origins read answers (CORS: the Fetch standard, section 3.3)."""

from collections.abc import Sequence
from typing import Final

from aiohttp import web

from gateway.auth.origins import OriginRule
from gateway.http.admission import parse_handshake
from gateway.http.handshake import HandshakeRequest

_PREFLIGHT_SECONDS: Final = 600


def cors_headers(request: HandshakeRequest, origins: Sequence[OriginRule]) -> dict[str, str]:
    """The headers that let a page read the answer, if its origin is allowed."""
    headers = {"Vary": "Origin"}
    origin = request.allowed_origin(origins)
    if origin is not None:
        headers["Access-Control-Allow-Origin"] = origin
        headers["Access-Control-Allow-Credentials"] = "true"
        headers["Access-Control-Expose-Headers"] = "Retry-After"
    return headers


def preflight_route(
    path: str, method: str, headers: str, origins: Sequence[OriginRule]
) -> web.RouteDef:
    """A route that answers whether a page may use this *method* with these *headers*."""

    async def answer(request: web.Request) -> web.Response:
        fields = cors_headers(parse_handshake(request), origins)
        if "Access-Control-Allow-Origin" in fields:
            fields["Access-Control-Allow-Methods"] = method
            fields["Access-Control-Allow-Headers"] = headers
            fields["Access-Control-Max-Age"] = str(_PREFLIGHT_SECONDS)
        return web.Response(status=204, headers=fields)

    return web.options(path, answer)

"""Refusals as HTTP responses, as wire.md spells them."""

from collections.abc import Mapping

from aiohttp import web

from shared.protocol.close_codes import Refusal
from shared.protocol.frames import error_body


def json_error(
    status: int, code: str, message: str, headers: Mapping[str, str] | None = None
) -> web.Response:
    """A response with the error in its JSON body."""
    return web.Response(
        status=status,
        body=error_body(code, message),
        content_type="application/json",
        headers=headers,
    )


def refusal_response(
    refusal: Refusal, headers: Mapping[str, str] | None = None
) -> web.Response:
    """The response to a refused request, with ``Retry-After`` if the refusal has it."""
    headers = dict(headers or {})
    if refusal.retry_after_seconds is not None:
        headers["Retry-After"] = str(refusal.retry_after_seconds)
    return json_error(refusal.status, refusal.code, refusal.message, headers)

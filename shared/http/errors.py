"""Refusals as HTTP responses, as wire.md spells them."""

from collections.abc import Mapping
from email.utils import formatdate
from http import HTTPStatus

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
    headers = {**(headers or {}), **_retry_after(refusal)}
    return json_error(refusal.status, refusal.code, refusal.message, headers)


def encode_error(
    status: int, code: str, message: str, headers: Mapping[str, str] | None = None
) -> bytes:
    """The same response as bytes, after which the connection must be closed."""
    body = error_body(code, message)
    fields = {
        **(headers or {}),
        "Connection": ", ".join(filter(None, ((headers or {}).get("Connection"), "close"))),
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Date": formatdate(usegmt=True),
    }
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"]
    lines += [f"{name}: {value}" for name, value in fields.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def encode_refusal(refusal: Refusal, headers: Mapping[str, str] | None = None) -> bytes:
    """``refusal_response`` as bytes, after which the connection must be closed."""
    headers = {**(headers or {}), **_retry_after(refusal)}
    return encode_error(refusal.status, refusal.code, refusal.message, headers)


def _retry_after(refusal: Refusal) -> dict[str, str]:
    seconds = refusal.retry_after_seconds
    return {} if seconds is None else {"Retry-After": str(seconds)}

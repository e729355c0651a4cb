"""Reads and writes the JSON of the API, which no cache may store."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

import asyncpg
import orjson
from aiohttp import web
from aiohttp.typedefs import Handler

from demo.database import Row

MAX_TEXT: Final = 500

log = logging.getLogger(__name__)


class Refused(Exception):
    """The request is refused; the text is part of the response."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


def answer(rows: Sequence[Row] | Row | Mapping[str, Any], status: int = 200) -> web.Response:
    """Return a JSON response with rows, a row or a mapping."""
    body = [dict(row) for row in rows] if isinstance(rows, Sequence) else dict(rows)
    return web.Response(
        body=orjson.dumps(body, default=str), status=status, content_type="application/json"
    )


async def read_body(request: web.Request) -> dict[str, Any]:
    """Return the request's JSON object. Raises ``Refused``."""
    try:
        body = orjson.loads(await request.read())
    except orjson.JSONDecodeError:
        body = None
    if not isinstance(body, dict):
        raise Refused(400, "bad_request", "the body must be a JSON object")
    return body


def read_text(body: Mapping[str, Any], name: str) -> str:
    """Return a required text. Raises ``Refused``."""
    text = body.get(name)
    if not isinstance(text, str) or not 0 < len(text.strip()) <= MAX_TEXT:
        raise Refused(400, "bad_request", f"{name} must be a text of 1 to {MAX_TEXT} letters")
    return text.strip()


@web.middleware
async def api_rules(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn errors into JSON, and forbid HTTP caches to store answers of the API."""
    if not request.path.startswith("/api/"):
        return await handler(request)
    try:
        response = await handler(request)
    except Refused as exc:
        response = _error(exc.status, exc.code, str(exc))
    except web.HTTPException as exc:
        response = _error(
            exc.status, "not_found" if exc.status == 404 else "refused", exc.reason
        )
    except asyncpg.DataError:  # an id that is no UUID
        response = _error(404, "not_found", "there is nothing of that id")
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as exc:
        log.warning("the database failed", extra={"reason": str(exc)})
        response = _error(503, "unavailable", "the database is unavailable: try again")
    response.headers["Cache-Control"] = "no-store"
    log.debug(
        "request",
        extra={"method": request.method, "path": request.path, "status": response.status},
    )
    return response


def _error(status: int, code: str, message: str) -> web.Response:
    return answer({"error": {"code": code, "message": message}}, status)

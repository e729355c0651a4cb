"""``GET /api/v1/status``, and the page ``/status`` that shows it."""

from pathlib import Path
from typing import Final

import orjson
from aiohttp import web

from gateway.auth.origins import came_by_tls
from gateway.http.admin_key import SESSION_COOKIE, SESSION_SECONDS, AdminKey
from gateway.limits.connection_limiter import ConnectionLimiter
from shared.http.connection import expectation_met
from shared.http.errors import refusal_response
from shared.http.server import at_intervals
from shared.links.redis_access import RedisAccess
from shared.links.redis_link import RedisLost
from shared.links.status_board import read_status
from shared.protocol.close_codes import Refusal, unavailable
from shared.runtime.version import VERSION

STATUS_PATH: Final = "/api/v1/status"
LOGIN_PATH: Final = "/status/login"
LOGOUT_PATH: Final = "/status/logout"
_PAGE_PATH: Final = "/status"
_PAGES: Final = Path(__file__).parent / "pages"
_SCRIPT_TYPES: Final = {".css": "text/css", ".js": "text/javascript"}
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_NO_REDIS: Final = unavailable("Redis is away: the status is not known")


class StatusApi:
    """The status of all processes as JSON and as a page, for who has the admin key."""

    def __init__(self, key: AdminKey, redis: RedisAccess, limiter: ConnectionLimiter) -> None:
        self._key = key
        self._limiter = limiter
        # however many pages are open
        self._read = at_intervals(lambda: read_status(redis))
        self._files = {path.name: path.read_bytes() for path in _PAGES.iterdir()}

    @property
    def routes(self) -> list[web.RouteDef]:
        return [
            web.get(STATUS_PATH, self._status),
            web.get(_PAGE_PATH, self._page),
            web.post(LOGIN_PATH, self._login, expect_handler=expectation_met),
            web.post(LOGOUT_PATH, self._logout, expect_handler=expectation_met),
            *(
                web.get(f"{_PAGE_PATH}/{name}", self._file)
                for name in self._files
                if Path(name).suffix in _SCRIPT_TYPES
            ),
        ]

    async def _status(self, request: web.Request) -> web.Response:
        if not self._key.has_session(request):
            refusal = self._key.refuse_request(request)
            if refusal is not None:
                return refusal_response(refusal, _HEADERS)
        try:
            merged = await self._read()
        except RedisLost:
            return refusal_response(_NO_REDIS, _HEADERS)
        address = self._limiter.address_of(request)
        body = {"version": VERSION, **merged, "client": {"address": address}}
        return web.Response(
            body=orjson.dumps(body), content_type="application/json", headers=_HEADERS
        )

    async def _page(self, request: web.Request) -> web.Response:
        is_signed_in = self._key.has_session(request)
        return self._html("status.html" if is_signed_in else "login.html")

    async def _login(self, request: web.Request) -> web.Response:
        form = await request.post()
        refusal = self._key.refuse_login(str(form.get("key", "")), request)
        if refusal is not None:
            return self._refuse(refusal)
        response = self._redirect()
        response.set_cookie(
            SESSION_COOKIE,
            self._key.make_session(),
            max_age=SESSION_SECONDS,
            httponly=True,
            samesite="Strict",
            secure=came_by_tls(request.headers.getall("X-Forwarded-Proto", ())),
        )
        return response

    async def _logout(self, _: web.Request) -> web.Response:
        response = self._redirect()
        response.del_cookie(SESSION_COOKIE, httponly=True, samesite="Strict")
        return response

    async def _file(self, request: web.Request) -> web.Response:
        name = request.path.rpartition("/")[2]
        return web.Response(
            body=self._files[name],
            content_type=_SCRIPT_TYPES[Path(name).suffix],
            headers=_HEADERS,
        )

    def _refuse(self, refusal: Refusal) -> web.Response:
        response = self._html("refused.html", status=refusal.status)
        if refusal.retry_after_seconds is not None:
            response.headers["Retry-After"] = str(refusal.retry_after_seconds)
        return response

    def _redirect(self) -> web.Response:
        return web.Response(status=303, headers={**_HEADERS, "Location": _PAGE_PATH})

    def _html(self, name: str, *, status: int = 200) -> web.Response:
        return web.Response(
            body=self._files[name],
            status=status,
            content_type="text/html",
            charset="utf-8",
            headers=_HEADERS,
        )

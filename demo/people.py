"""The demo's sign-in without a password, and its tokens."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import jwt
from aiohttp import web

from demo.answers import Refused, answer, read_body, read_text
from demo.database import Pool

COOKIE: Final = "access_token"
_ALGORITHM: Final = "HS256"


class People:
    """Signs demo users in, and identifies the users of requests."""

    def __init__(
        self, pool: Pool, secret: str, *, token_seconds: int, gateway_port: int
    ) -> None:
        self._pool = pool
        self._secret = secret
        self._token_seconds = token_seconds
        self._gateway_port = gateway_port

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/api/users", self._list_users),
            web.get("/api/session", self._read_session),
            web.post("/api/session", self._sign_in),
            web.delete("/api/session", self._sign_out),
        ]

    def user_of(self, request: web.Request) -> str:
        """Return the id of the request's user. Raises ``Refused``."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            # No writes by cookie: a foreign page's request would carry it too.
            token = request.cookies.get(COOKIE, "") if request.method == "GET" else ""
        try:
            claims = jwt.decode(
                token, self._secret, algorithms=[_ALGORITHM], options={"require": ["sub"]}
            )
        except jwt.InvalidTokenError as exc:
            raise Refused(401, "unauthorized", "sign in first") from exc
        return str(claims["sub"])

    async def _list_users(self, _: web.Request) -> web.Response:
        return answer(await self._pool.fetch("select id, name from users order by name, id"))

    async def _find_user(self, user_id: str) -> dict[str, Any]:
        user = await self._pool.fetchrow("select id, name from users where id = $1", user_id)
        if user is None:
            raise Refused(404, "not_found", "there is no such user")
        return dict(user)

    async def _read_session(self, request: web.Request) -> web.Response:
        user = await self._find_user(self.user_of(request))
        return answer({"user": user, "gateway_port": self._gateway_port})

    async def _sign_in(self, request: web.Request) -> web.Response:
        user = await self._find_user(read_text(await read_body(request), "user_id"))
        expires = datetime.now(UTC) + timedelta(seconds=self._token_seconds)
        claims = {"sub": str(user["id"]), "exp": expires}
        token = jwt.encode(claims, self._secret, algorithm=_ALGORITHM)
        response = answer(
            {
                "user": user,
                "gateway_port": self._gateway_port,
                "token": token,
                "expires_in": self._token_seconds,
            }
        )
        response.set_cookie(
            COOKIE,
            token,
            max_age=self._token_seconds,
            httponly=True,
            samesite="Lax",
            secure=request.secure,
        )
        return response

    async def _sign_out(self, _: web.Request) -> web.Response:
        response = answer({})
        response.del_cookie(COOKIE)
        return response

"""The HTTP API of the operator, which acts on all gateways."""

from hmac import compare_digest
from typing import Final

from aiohttp import web

from gateway.http.json_body import read_id
from gateway.limits.connection_limiter import ConnectionLimiter
from shared.http.connection import expectation_met
from shared.http.errors import refusal_response
from shared.links.redis_link import Client, RedisLost, translated_errors
from shared.protocol.channels import IdType, RedisNames
from shared.protocol.close_codes import Refusal, unauthorized, unavailable
from shared.protocol.control_messages import disconnect_message

DISCONNECT_PATH: Final = "/api/v1/admin/disconnect"
USER_FIELDS: Final = ("user_id",)
_NO_KEY: Final = unauthorized("Authorization: Bearer <ADMIN_KEY> is required")
_NO_REDIS: Final = unavailable("Redis is away: no gateway was told")


class AdminApi:
    """``POST /api/v1/admin/disconnect``."""

    def __init__(
        self,
        key: str,
        client: Client,
        names: RedisNames,
        limiter: ConnectionLimiter,
        user_type: IdType,
    ) -> None:
        self._key = key.encode()
        self._client = client
        self._names = names
        self._limiter = limiter
        self._user_type = user_type

    @property
    def routes(self) -> list[web.RouteDef]:
        return [web.post(DISCONNECT_PATH, self._disconnect, expect_handler=expectation_met)]

    async def _disconnect(self, request: web.Request) -> web.Response:
        refusal = self._check_key(request) or await self._publish(request)
        if refusal is None:
            return web.json_response({"published": True})
        return refusal_response(refusal)

    def _check_key(self, request: web.Request) -> Refusal | None:
        address = self._limiter.address_of(request)
        refusal = self._limiter.refuse_guessing(address)
        if refusal is not None:
            return refusal
        given = request.headers.getall("Authorization", ())
        scheme, _, key = (given[0] if len(given) == 1 else "").partition(" ")
        # compare_digest reveals the key's length by its time, and nothing else
        is_right = compare_digest(key.strip().encode(errors="surrogateescape"), self._key)
        if scheme.lower() == "bearer" and is_right:
            return None
        self._limiter.count_failure(address)
        return _NO_KEY

    async def _publish(self, request: web.Request) -> Refusal | None:
        user_id = await read_id(request, USER_FIELDS, self._user_type)
        if isinstance(user_id, Refusal):
            return user_id
        try:
            async with translated_errors(self._client):
                await self._client.publish(self._names.recheck, disconnect_message(user_id))
        except RedisLost:
            return _NO_REDIS
        return None

"""What the operator may ask of all gateways at once."""

from hmac import compare_digest
from typing import Final

from aiohttp import web

from gateway.http.ticket_api import read_object
from gateway.limits.connection_limiter import ConnectionLimiter
from shared.http.connection import expectation_met
from shared.http.errors import refusal_response
from shared.links.redis_link import Client, RedisLost, telling_loss
from shared.protocol.channels import IdType, InvalidId, RedisNames, parse_id
from shared.protocol.close_codes import Refusal, bad_request, unauthorized, unavailable
from shared.protocol.control_messages import disconnect_message

DISCONNECT_PATH: Final = "/api/v1/admin/disconnect"
_NO_KEY: Final = unauthorized("Authorization: Bearer <ADMIN_KEY> is required")
_NO_REDIS: Final = unavailable("Redis is away: no gateway was told")


class AdminApi:
    """``POST /api/v1/admin/disconnect``."""

    def __init__(
        self,
        key: str,
        client: Client,
        names: RedisNames,
        door: ConnectionLimiter,
        user_type: IdType,
    ) -> None:
        self._key = key.encode()
        self._client = client
        self._names = names
        self._door = door
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
        address = self._door.address_of(request)
        refusal = self._door.refuse_guessing(address)
        if refusal is not None:
            return refusal
        given = request.headers.getall("Authorization", ())
        scheme, _, key = (given[0] if len(given) == 1 else "").partition(" ")
        # the time tells how long the key is, and nothing else
        is_right = compare_digest(key.strip().encode(errors="surrogateescape"), self._key)
        if scheme.lower() == "bearer" and is_right:
            return None
        self._door.count_failure(address)
        return _NO_KEY

    async def _publish(self, request: web.Request) -> Refusal | None:
        body = await read_object(request)
        if isinstance(body, Refusal):
            return body
        given = body.get("user_id")
        if isinstance(given, bool) or not isinstance(given, str | int):
            return bad_request('the body must be {"user_id": <id>}')
        try:
            user_id = parse_id(str(given), self._user_type)
        except InvalidId as exc:
            return bad_request(f"user_id {exc}")
        try:
            async with telling_loss(self._client):
                await self._client.publish(self._names.recheck, disconnect_message(user_id))
        except RedisLost:
            return _NO_REDIS
        return None

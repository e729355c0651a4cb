"""The HTTP API of the operator, which acts on all gateways."""

from typing import Final

from aiohttp import web

from gateway.http.admin_key import AdminKey
from gateway.http.json_body import read_id
from shared.http.connection import expectation_met
from shared.http.errors import refusal_response
from shared.links.redis_link import Client, RedisLost, translated_errors
from shared.protocol.channels import IdType, RedisNames
from shared.protocol.close_codes import Refusal, unavailable
from shared.protocol.control_messages import disconnect_message

DISCONNECT_PATH: Final = "/api/v1/admin/disconnect"
USER_FIELDS: Final = ("user_id",)
_NO_REDIS: Final = unavailable("Redis is away: no gateway was told")


class AdminApi:
    """``POST /api/v1/admin/disconnect``."""

    def __init__(
        self, key: AdminKey, client: Client, names: RedisNames, user_type: IdType
    ) -> None:
        self._key = key
        self._client = client
        self._names = names
        self._user_type = user_type

    @property
    def routes(self) -> list[web.RouteDef]:
        return [web.post(DISCONNECT_PATH, self._disconnect, expect_handler=expectation_met)]

    async def _disconnect(self, request: web.Request) -> web.Response:
        refusal = self._key.refuse_request(request) or await self._publish(request)
        if refusal is None:
            return web.json_response({"published": True})
        return refusal_response(refusal)

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

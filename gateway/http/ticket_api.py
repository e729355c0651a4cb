"""The HTTP call by which a page gets a ticket for its socket, from other origins too (CORS)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import orjson
from aiohttp import web
from prometheus_client import CollectorRegistry, Counter

from gateway.auth.origins import OriginRule, came_by_tls, is_origin_allowed
from gateway.auth.tickets import TICKET_SECONDS
from gateway.http.admission import Admission, parse_handshake
from gateway.limits.connection_limiter import ConnectionLimiter
from shared.http.connection import expectation_met
from shared.http.errors import refusal_response
from shared.protocol.channels import IdType, InvalidId, parse_id
from shared.protocol.close_codes import Refusal, bad_request

TICKET_PATH: Final = "/api/v1/messages/ticket"
_PREFLIGHT_SECONDS: Final = 600


class TicketApi:
    """``POST /api/v1/messages/ticket``, and the preflight for it."""

    def __init__(
        self,
        admission: Admission,
        door: ConnectionLimiter,
        origins: Sequence[OriginRule],
        project_type: IdType,
        registry: CollectorRegistry,
    ) -> None:
        self._admission = admission
        self._door = door
        self._origins = origins
        self._project_type = project_type
        self._issued = Counter(
            "neverstale_tickets_total", "Tickets asked for", ["outcome"], registry=registry
        )

    @property
    def routes(self) -> list[web.RouteDef]:
        return [
            web.post(TICKET_PATH, self._answer, expect_handler=expectation_met),
            web.options(TICKET_PATH, self._answer_preflight),
        ]

    async def _answer(self, request: web.Request) -> web.Response:
        project_id = await self._project_id(request)
        # what is only for who can set no header begets no ticket
        offer = replace(parse_handshake(request), subprotocols=(), tickets=(), query_tokens=())
        address = self._door.address_of(request)
        told = await self._admission.issue_ticket(offer, project_id, address)
        headers = self._cors(request)
        if isinstance(told, Refusal):
            self._issued.labels(told.code).inc()
            return refusal_response(told, headers)
        self._issued.labels("issued").inc()
        return web.Response(
            status=201,
            body=orjson.dumps({"ticket": told, "expires_in": TICKET_SECONDS}),
            content_type="application/json",
            headers={**headers, "Cache-Control": "no-store"},
        )

    async def _answer_preflight(self, request: web.Request) -> web.Response:
        headers = self._cors(request)
        if "Access-Control-Allow-Origin" in headers:
            headers["Access-Control-Allow-Methods"] = "POST"
            headers["Access-Control-Allow-Headers"] = "Authorization, Content-Type"
            headers["Access-Control-Max-Age"] = str(_PREFLIGHT_SECONDS)
        return web.Response(status=204, headers=headers)

    def _cors(self, request: web.Request) -> dict[str, str]:
        """What lets a page read the answer (the Fetch standard, section 3.3), if it may."""
        headers = {"Vary": "Origin"}
        origins = request.headers.getall("Origin", ())
        hosts = request.headers.getall("Host", ())
        if len(origins) != 1 or len(hosts) != 1:
            return headers
        is_tls = came_by_tls(request.headers.getall("X-Forwarded-Proto", ()))
        if is_origin_allowed(origins[0], hosts[0], self._origins, is_tls=is_tls):
            headers["Access-Control-Allow-Origin"] = origins[0]
            headers["Access-Control-Allow-Credentials"] = "true"
            headers["Access-Control-Expose-Headers"] = "Retry-After"
        return headers

    async def _project_id(self, request: web.Request) -> str | Refusal:
        body = await read_object(request)
        if isinstance(body, Refusal):
            return body
        given = body.get("project_id", body.get("projectId"))
        if isinstance(given, bool) or not isinstance(given, str | int):
            return bad_request('the body must be {"project_id": <id>}')
        try:
            return parse_id(str(given), self._project_type)
        except InvalidId as exc:
            return bad_request(f"project_id {exc}")


async def read_object(request: web.Request) -> Mapping[str, Any] | Refusal:
    """The JSON object in the body, which was read before the request was handled."""
    try:
        body = orjson.loads(await request.read())
    except orjson.JSONDecodeError:
        return bad_request("the body must be a JSON object")
    return body if isinstance(body, dict) else bad_request("the body must be a JSON object")

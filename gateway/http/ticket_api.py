"""The HTTP API that issues tickets to pages, from other origins too (CORS)."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import orjson
from aiohttp import web
from prometheus_client import CollectorRegistry, Counter

from gateway.auth.origins import OriginRule
from gateway.auth.tickets import TICKET_SECONDS
from gateway.http.admission import Admission, parse_handshake
from gateway.http.cors import cors_headers, preflight_route
from gateway.http.json_body import read_id
from gateway.limits.connection_limiter import ConnectionLimiter
from shared.http.connection import expectation_met
from shared.http.errors import refusal_response
from shared.protocol.channels import IdType
from shared.protocol.close_codes import Refusal

TICKET_PATH: Final = "/api/v1/messages/ticket"
PROJECT_FIELDS: Final = ("project_id", "projectId")


class TicketApi:
    """``POST /api/v1/messages/ticket``, and its preflight."""

    def __init__(
        self,
        admission: Admission,
        limiter: ConnectionLimiter,
        origins: Sequence[OriginRule],
        project_type: IdType,
        registry: CollectorRegistry,
    ) -> None:
        self._admission = admission
        self._limiter = limiter
        self._origins = origins
        self._project_type = project_type
        self._issued = Counter(
            "neverstale_tickets_total", "Tickets asked for", ["outcome"], registry=registry
        )

    @property
    def routes(self) -> list[web.RouteDef]:
        return [
            web.post(TICKET_PATH, self._answer, expect_handler=expectation_met),
            preflight_route(TICKET_PATH, "POST", "Authorization, Content-Type", self._origins),
        ]

    async def _answer(self, request: web.Request) -> web.Response:
        project_id = await read_id(request, PROJECT_FIELDS, self._project_type)
        handshake = parse_handshake(request)
        # a client that can use the other sources of a token can set a header, too
        by_header = replace(handshake, subprotocols=(), tickets=(), query_tokens=())
        address = self._limiter.address_of(request)
        ticket = await self._admission.issue_ticket(by_header, project_id, address)
        headers = cors_headers(handshake, self._origins)
        if isinstance(ticket, Refusal):
            self._issued.labels(ticket.code).inc()
            return refusal_response(ticket, headers)
        self._issued.labels("issued").inc()
        return web.Response(
            status=201,
            body=orjson.dumps({"ticket": ticket, "expires_in": TICKET_SECONDS}),
            content_type="application/json",
            headers={**headers, "Cache-Control": "no-store"},
        )

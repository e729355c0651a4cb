"""A receiver of traces by OTLP over HTTP."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True)
class ReceivedSpan:
    """A span; times in Unix seconds."""

    service: str
    name: str
    trace_id: int
    span_id: int
    parent_id: int
    began: float
    ended: float
    attributes: dict[str, Any]


@dataclass
class TraceReceiver:
    """What was received, by an HTTP server at ``url``."""

    url: str = ""
    spans: list[ReceivedSpan] = field(default_factory=list)

    def of_trace(self, trace_id: int) -> list[ReceivedSpan]:
        """Return a trace's spans by the time at which they began."""
        found = [span for span in self.spans if span.trace_id == trace_id]
        return sorted(found, key=lambda span: (span.began, span.ended))

    async def receive(self, request: web.Request) -> web.Response:
        message = ExportTraceServiceRequest.FromString(await request.read())
        for group in message.resource_spans:
            resource = _values(group.resource.attributes)
            self.spans += [
                ReceivedSpan(
                    resource["service.name"],
                    span.name,
                    int.from_bytes(span.trace_id),
                    int.from_bytes(span.span_id),
                    int.from_bytes(span.parent_span_id),
                    span.start_time_unix_nano / 1e9,
                    span.end_time_unix_nano / 1e9,
                    _values(span.attributes),
                )
                for scope in group.scope_spans
                for span in scope.spans
            ]
        return web.Response(content_type="application/x-protobuf")


def _values(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


@asynccontextmanager
async def running_receiver() -> AsyncIterator[TraceReceiver]:
    """Yield a receiver that listens."""
    receiver = TraceReceiver()
    app = web.Application()
    app.add_routes([web.post("/v1/traces", receiver.receive)])
    async with TestServer(app) as server:
        receiver.url = str(server.make_url("/")).rstrip("/")
        yield receiver

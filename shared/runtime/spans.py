"""Records spans with OpenTelemetry's SDK, which exports them in a separate thread.

Only processes that trace import this module: OpenTelemetry is an optional extra.
"""

import logging
import time
from collections.abc import Mapping
from typing import Final, NoReturn

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    TraceFlags,
    set_span_in_context,
)

from shared.protocol.trace_ids import TraceIds, sampled_trace, sampling_bound
from shared.runtime.log_throttle import LogThrottle
from shared.runtime.version import VERSION

MAX_TRACES_PER_SECOND: Final = 100


def _refuse_header(_: logging.LogRecord) -> NoReturn:
    raise ValueError("a header in OTEL_EXPORTER_OTLP_HEADERS is not of the form name=value")


# The SDK would log a header that it cannot parse, which is often a secret, and leave it out.
logging.getLogger("opentelemetry.util.re").addFilter(_refuse_header)


class _Ids(RandomIdGenerator):
    """Gives the next root span the ids of its trace, and any other span a random one."""

    root: TraceIds | None = None

    def generate_trace_id(self) -> int:
        return self.root.trace_id if self.root else super().generate_trace_id()

    def generate_span_id(self) -> int:
        return self.root.root_span_id if self.root else super().generate_span_id()


class Spans:
    """Records the spans of sampled events. Nothing waits for their export.

    ``OTEL_`` variables configure the exporter and its queue, which drops what it cannot hold.
    For use in one thread.

    Raises:
        ValueError: such a variable is invalid.
    """

    def __init__(self, service_name: str, ratio: float) -> None:
        own = Resource.create({"service.name": service_name, "service.version": VERSION})
        self._ids = _Ids()
        self._provider = TracerProvider(
            ALWAYS_ON,  # events are sampled here, not spans
            own.merge(OTELResourceDetector().detect()),
            shutdown_on_exit=False,
            id_generator=self._ids,
        )
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("neverstale", VERSION)
        self._bound = sampling_bound(ratio)
        self._throttle = LogThrottle(lines=MAX_TRACES_PER_SECOND, seconds=1.0)

    def sample(self, cursor: bytes) -> TraceIds | None:
        """The trace of the event with this cursor; None: it is not recorded.

        Sampled events beyond ``MAX_TRACES_PER_SECOND`` are left out too: a span costs 50 us,
        in the thread that sends events.
        """
        trace = sampled_trace(cursor, self._bound)
        if trace is None or not self._throttle.count(time.monotonic()):
            return None
        return trace

    def record_root(
        self,
        trace: TraceIds,
        name: str,
        began: float,
        ended: float,
        attributes: Mapping[str, str | int],
    ) -> None:
        """Record a trace's root span, which other processes continue; times in Unix seconds."""
        self._ids.root = trace
        try:
            self._record(name, Context(), SpanKind.PRODUCER, began, ended, attributes)
        finally:
            self._ids.root = None

    def record_child(
        self,
        trace: TraceIds,
        name: str,
        began: float,
        ended: float,
        attributes: Mapping[str, str | int],
        *,
        is_remote: bool = False,
    ) -> None:
        """Record a span below the root; *is_remote*: another process recorded that one."""
        root = SpanContext(
            trace.trace_id, trace.root_span_id, is_remote, TraceFlags(TraceFlags.SAMPLED)
        )
        context = set_span_in_context(NonRecordingSpan(root), Context())
        kind = SpanKind.CONSUMER if is_remote else SpanKind.INTERNAL
        self._record(name, context, kind, began, ended, attributes)

    def _record(
        self,
        name: str,
        context: Context,
        kind: SpanKind,
        began: float,
        ended: float,
        attributes: Mapping[str, str | int],
    ) -> None:
        # A raw NOTIFY may carry any time; OTLP has unsigned nanoseconds since 1970.
        start = max(1, round(began * 1e9))
        span = self._tracer.start_span(name, context, kind, attributes, start_time=start)
        span.end(max(start, round(ended * 1e9)))

    def shutdown(self) -> None:
        """Export what is left, and end. May take many seconds if the receiver is slow."""
        self._provider.shutdown()

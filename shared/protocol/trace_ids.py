"""Ids of traces: the listener and all gateways derive the same ones from an event's cursor."""

from collections.abc import Iterator
from hashlib import blake2b
from typing import NamedTuple

from shared.protocol.channels import Channel
from shared.protocol.replay import cursor_head


class TraceIds(NamedTuple):
    """The ids of a trace and of its root span, as OpenTelemetry defines them."""

    trace_id: int  # 128 bits
    root_span_id: int  # 64 bits


def sampling_bound(ratio: float) -> int:
    """The lower 64 bits of a sampled trace's id are below this: *ratio* (0 to 1) of all ids.

    OpenTelemetry's ``TraceIdRatioBased`` decides in the same way.
    """
    return round(ratio * 2**64)


def sampled_trace(cursor: bytes, bound: int) -> TraceIds | None:
    """The ids of the trace of the event with this cursor; None: it is not sampled."""
    digest = blake2b(cursor, digest_size=24).digest()
    if int.from_bytes(digest[8:16]) >= bound:
        return None
    return TraceIds(int.from_bytes(digest[:16]), int.from_bytes(digest[16:]))


def published_cursors(channel: Channel, epoch: bytes, last: int, count: int) -> Iterator[bytes]:
    """The cursors of *count* events that one call of ``publish.lua`` has published.

    It numbers them consecutively up to *last*.
    """
    head = cursor_head(channel).encode() + epoch
    for offset in range(last - count + 1, last + 1):
        yield b"%b.%d" % (head, offset)

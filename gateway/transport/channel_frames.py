"""Payloads of one channel for several clients, encoded once for each kind of connection."""

from collections.abc import Sequence
from functools import cached_property

from gateway.transport.sse_events import encode_event, join_events
from gateway.transport.websocket_frames import encode_text_frame
from shared.protocol.channels import Channel
from shared.protocol.events import cursor_text, row_of


class ChannelFrames:
    """What is sent of one channel in one write: at least one payload, oldest first.

    Of several payloads about the same row and action only the newest is kept, in its own
    position: cursors stay in order, and a frame that is left out is covered by a later one.
    """

    def __init__(self, channel: Channel, payloads: Sequence[bytes]) -> None:
        self.channel = channel
        self.payloads = payloads if len(payloads) == 1 else _newest(payloads)

    @cached_property
    def websocket(self) -> bytes:
        """Text frames of a WebSocket."""
        if len(self.payloads) == 1:
            return encode_text_frame(self.payloads[0])
        return b"".join(map(encode_text_frame, self.payloads))

    @cached_property
    def event_stream(self) -> bytes:
        """Server-sent events, of which the last lacks its id and its end."""
        return join_events(list(map(encode_event, self.payloads)))

    @cached_property
    def cursor(self) -> bytes:
        """The cursor of the last payload."""
        return cursor_text(self.payloads[-1])


def _newest(payloads: Sequence[bytes]) -> Sequence[bytes]:
    newest: dict[bytes, bytes] = {}
    for payload in payloads:
        row = row_of(payload)
        newest.pop(row, None)
        newest[row] = payload
    return list(newest.values())

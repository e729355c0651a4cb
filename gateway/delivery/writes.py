"""What is sent to a client in one write."""

from collections.abc import Collection, Iterator, Sequence
from typing import Final

from gateway.delivery.effects import Frame
from gateway.transport.websocket_frames import encode_text_frame
from shared.protocol.events import row_of

MAX_CHUNK_BYTES: Final = 64 * 1024


def join_frames(payloads: Sequence[bytes]) -> bytes:
    """Encode one channel's payloads, oldest first, as WebSocket frames, conflated."""
    if len(payloads) == 1:
        return encode_text_frame(payloads[0])
    return b"".join(map(encode_text_frame, conflate(payloads)))


def conflate(payloads: Sequence[bytes]) -> Collection[bytes]:
    """Leave out all payloads but the newest about the same row and action.

    It keeps its own position: cursors stay in order, and a frame that is left out is covered by
    a later one.
    """
    newest: dict[bytes, bytes] = {}
    for payload in payloads:
        row = row_of(payload)
        newest.pop(row, None)
        newest[row] = payload
    return newest.values()


def fit_frames(frames: Sequence[Frame], max_bytes: int) -> Sequence[Frame]:
    """Return the first frames, until *max_bytes* are reached; the last one may exceed them."""
    for number, (_, payload) in enumerate(frames):
        if max_bytes <= 0:
            return frames[:number]
        max_bytes -= len(payload)
    return frames


def split_messages(
    messages: Sequence[tuple[bytes, bytes]],
) -> Iterator[Sequence[tuple[bytes, bytes]]]:
    """Split messages into chunks of ``MAX_CHUNK_BYTES``, in order; a larger message is a chunk.

    A client whose buffer fills up gets the rest of the chunk on top.
    """
    start = size = 0
    for end, (_, payload) in enumerate(messages):
        if size and size + len(payload) > MAX_CHUNK_BYTES:
            yield messages[start:end]
            start, size = end, 0
        size += len(payload)
    if start < len(messages):
        yield messages[start:]

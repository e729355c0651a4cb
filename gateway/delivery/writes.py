"""What leaves in one write."""

from collections.abc import Iterator, Sequence
from typing import Final

from gateway.delivery.effects import Frame
from gateway.transport.websocket_frames import encode_text_frame
from shared.protocol.events import row_of

MAX_CHUNK_BYTES: Final = 64 * 1024


def join_frames(payloads: Sequence[bytes]) -> bytes:
    """One channel's payloads, oldest first, as the bytes of their frames.

    Of several about the same row and action only the newest is kept, at its own place: no
    cursor is overtaken, and what is left out is told by a frame above it.
    """
    if len(payloads) == 1:
        return encode_text_frame(payloads[0])
    newest: dict[bytes, bytes] = {}
    for payload in payloads:
        row = row_of(payload)
        newest.pop(row, None)
        newest[row] = payload
    return b"".join(map(encode_text_frame, newest.values()))


def fit_frames(frames: Sequence[Frame], room: int) -> Sequence[Frame]:
    """The first of the frames, until there is no room left; the last may exceed it."""
    for number, (_, payload) in enumerate(frames):
        if room <= 0:
            return frames[:number]
        room -= len(payload)
    return frames


def split_messages(
    messages: Sequence[tuple[bytes, bytes]],
) -> Iterator[Sequence[tuple[bytes, bytes]]]:
    """In order, so many bytes at once as a client that fills up is told on top."""
    start = size = 0
    for end, (_, payload) in enumerate(messages):
        if size and size + len(payload) > MAX_CHUNK_BYTES:
            yield messages[start:end]
            start, size = end, 0
        size += len(payload)
    if start < len(messages):
        yield messages[start:]

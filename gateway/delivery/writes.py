"""How much is sent to a client in one write."""

from collections.abc import Iterator, Sequence
from typing import Final

from gateway.delivery.effects import Frame

MAX_CHUNK_BYTES: Final = 64 * 1024


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

"""What leaves in one write."""

from collections.abc import Sequence

from shared.core.protocol import encode_text_frame, row_of


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

"""WebSocket frames as bytes, valid and invalid ones (RFC 6455, section 5.2)."""


def frame(
    opcode: int,
    payload: bytes,
    *,
    fin: bool = True,
    reserved: int = 0,
    mask: bytes | None = b"\x0f\xf0\x55\xaa",
    length: int | None = None,
) -> bytes:
    """Return a frame as a client sends it.

    *length* is the length that its header claims; without a *mask* the frame is unmasked.
    """
    size = len(payload) if length is None else length
    first = (0x80 if fin else 0) | reserved << 4 | opcode
    masked = 0 if mask is None else 0x80
    if size < 126:
        head = bytes((first, masked | size))
    elif size < 65536:
        head = bytes((first, masked | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((first, masked | 127)) + size.to_bytes(8, "big")
    if mask is None:
        return head + payload
    return head + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))

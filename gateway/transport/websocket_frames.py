"""Encode WebSocket frames as a server sends them: unmasked and unfragmented."""


def encode_close_frame(code: int, reason: str) -> bytes:
    """A Close frame (RFC 6455, section 5.5.1). The reason has at most 123 bytes."""
    payload = code.to_bytes(2, "big") + reason.encode()
    return bytes((0x88, len(payload))) + payload


def encode_pong_frame(payload: bytes) -> bytes:
    """The answer to a Ping frame with this payload (RFC 6455, section 5.5.3)."""
    return bytes((0x8A, len(payload))) + payload


def encode_text_frame(payload: bytes) -> bytes:
    """A text frame (RFC 6455, section 5.2)."""
    length = len(payload)
    if length < 126:
        return bytes((0x81, length)) + payload
    if length < 65536:
        return b"\x81\x7e" + length.to_bytes(2, "big") + payload
    return b"\x81\x7f" + length.to_bytes(8, "big") + payload

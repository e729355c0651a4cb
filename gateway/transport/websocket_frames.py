"""Encode what a WebSocket server sends: the handshake, and whole, unmasked frames."""

import binascii
from base64 import b64encode
from hashlib import sha1
from typing import Final

_GUID: Final = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3
_KEY_BYTES: Final = 16


def is_handshake_key(key: str) -> bool:
    """Whether it is a valid ``Sec-WebSocket-Key`` (RFC 6455, section 4.1)."""
    try:
        return len(binascii.a2b_base64(key, strict_mode=True)) == _KEY_BYTES
    except (binascii.Error, ValueError):  # the latter if it is not ASCII
        return False


def encode_handshake(key: str, subprotocol: str | None) -> bytes:
    """The response that opens the WebSocket (RFC 6455, section 4.2.2), without extensions."""
    digest = sha1((key + _GUID).encode(), usedforsecurity=False).digest()
    selected = "" if subprotocol is None else f"Sec-WebSocket-Protocol: {subprotocol}\r\n"
    return (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {b64encode(digest).decode()}\r\n{selected}\r\n"
    ).encode()


def encode_close_frame(code: int, reason: str) -> bytes:
    """A Close frame (RFC 6455, section 5.5.1). The reason has at most 123 bytes."""
    payload = code.to_bytes(2, "big") + reason.encode()
    return bytes((0x88, len(payload))) + payload


def encode_ping_frame() -> bytes:
    """A Ping frame without a payload (RFC 6455, section 5.5.2)."""
    return b"\x89\x00"


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

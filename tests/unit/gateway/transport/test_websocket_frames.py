import pytest

from gateway.transport.websocket_frames import (
    encode_close_frame,
    encode_handshake,
    encode_ping_frame,
    encode_pong_frame,
    encode_text_frame,
    is_handshake_key,
)

KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # of RFC 6455, section 1.3


@pytest.mark.parametrize(
    ("size", "header"),
    [
        (0, b"\x81\x00"),
        (125, b"\x81\x7d"),
        (126, b"\x81\x7e\x00\x7e"),
        (65535, b"\x81\x7e\xff\xff"),
        (65536, b"\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
    ],
)
def test_a_text_frame_has_the_shortest_length(size: int, header: bytes) -> None:
    """RFC 6455, section 5.2."""
    payload = b"x" * size
    assert encode_text_frame(payload) == header + payload


def test_a_close_frame_has_its_code_and_reason() -> None:
    assert encode_close_frame(4403, "no") == b"\x88\x04\x11\x33no"


def test_pings_and_pongs() -> None:
    assert encode_ping_frame() == b"\x89\x00"
    assert encode_pong_frame(b"p") == b"\x8a\x01p"


def test_a_handshake_is_answered_with_its_keys_digest() -> None:
    head, *fields, end, rest = encode_handshake(KEY, None).decode().split("\r\n")
    assert head == "HTTP/1.1 101 Switching Protocols"
    assert (end, rest) == ("", "")
    assert fields == [
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
    ]
    assert b"\r\nSec-WebSocket-Protocol: a.v1\r\n" in encode_handshake(KEY, "a.v1")


@pytest.mark.parametrize(
    ("key", "is_valid"),
    [
        (KEY, True),
        ("", False),
        ("dGhl", False),
        ("x" * 24, False),
        ("\N{EURO SIGN}" * 24, False),
    ],
)
def test_a_key_is_16_bytes_in_base64(key: str, is_valid: bool) -> None:
    assert is_handshake_key(key) is is_valid

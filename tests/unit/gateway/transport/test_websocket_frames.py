import pytest

from gateway.transport.websocket_frames import encode_close_frame, encode_text_frame


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

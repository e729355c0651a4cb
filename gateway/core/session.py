"""What a client's message is answered with."""

from shared.core.protocol import PONG_FRAME, error_frame, parse_client_message


def decide_reply(text: str, *, is_v1: bool) -> bytes | None:
    """The answer's payload. A plain client's messages are ignored.

    It was never promised an answer.
    """
    if not is_v1:
        return None
    try:
        kind = parse_client_message(text)
    except ValueError as exc:
        return error_frame("bad_request", str(exc))
    if kind == "ping":
        return PONG_FRAME
    return error_frame("bad_request", "messages of this type are not understood")

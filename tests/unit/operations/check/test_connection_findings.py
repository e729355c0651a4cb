"""What is said of each way in which a client's connection fails."""

import pytest

from operations.check.connection_findings import (
    REFUSED_HANDSHAKE,
    REFUSED_STREAM,
    Handshake,
    Stream,
    find_in_connections,
)
from shared.protocol.close_codes import CloseCode

URL = "https://rt.example.com"
GREETED = Handshake(101)
BEGUN = Stream(200, seconds=0.1)
BLOCKED = Handshake(426)


def found(
    plain: Handshake, with_token: Handshake | None, stream: Stream
) -> list[tuple[str, str]]:
    findings = find_in_connections(URL, plain, with_token, stream)
    assert all(one.severity == "problem" and URL in one.what and one.todo for one in findings)
    return [(one.id.removeprefix("gateway."), one.text) for one in findings]


@pytest.mark.parametrize(
    ("with_token", "stream"), [(GREETED, BEGUN), (None, REFUSED_STREAM)], ids=["token", "none"]
)
def test_what_a_gateway_answers_has_no_findings(
    with_token: Handshake | None, stream: Stream
) -> None:
    assert found(REFUSED_HANDSHAKE, with_token, stream) == []


@pytest.mark.parametrize(
    ("plain", "with_token", "id_", "text"),
    [
        (Handshake(426), None, "upgrade", "status 426"),
        (Handshake(0, reason="cut"), None, "upgrade", "cut"),
        (Handshake(401), None, "subprotocol", "removes"),
        (Handshake(101, 4401, has_subprotocol=False), None, "subprotocol", "removes"),
        (
            REFUSED_HANDSHAKE,
            Handshake(101, CloseCode.FORBIDDEN, reason="no"),
            "token_refused",
            "4403: no",
        ),
        (REFUSED_HANDSHAKE, Handshake(431, reason="too long"), "not_greeted", "too long"),
        (REFUSED_HANDSHAKE, Handshake(101, 1013, reason="away"), "not_greeted", "1013: away"),
    ],
)
def test_a_websocket_that_fails_is_a_finding(
    plain: Handshake, with_token: Handshake | None, id_: str, text: str
) -> None:
    stream = REFUSED_STREAM if with_token is None else Stream(401, refusal="unauthorized")
    [(told, what)] = found(plain, with_token, stream)
    assert told == id_
    assert text in what


@pytest.mark.parametrize(
    ("with_token", "stream", "id_", "text"),
    [
        (GREETED, Stream(200, is_silent=True), "sse_buffered", "holds back"),
        (GREETED, Stream(200, is_silent=True, encoding="gzip"), "sse_buffered", "(gzip)"),
        (GREETED, Stream(0, is_silent=True), "sse_buffered", "holds back"),
        (GREETED, Stream(404), "sse", "status 404"),
        (GREETED, Stream(200, reason="it ended"), "sse", "it ended"),
        (GREETED, Stream(429, refusal="too_many_connections"), "sse", "status 429"),
        (GREETED, Stream(401, refusal="unauthorized"), "sse_token", "Authorization"),
        (GREETED, Stream(403, refusal="forbidden"), "token_refused", "status 403, forbidden"),
        (None, Stream(404), "sse", "status 404"),
        (None, Stream(401), "sse", "status 401"),
        (None, Stream(0, is_silent=True, reason="no answer"), "sse", "no answer"),
    ],
)
def test_an_event_stream_that_fails_is_a_finding(
    with_token: Handshake | None, stream: Stream, id_: str, text: str
) -> None:
    [(told, what)] = found(REFUSED_HANDSHAKE, with_token, stream)
    assert told == id_
    assert text in what


@pytest.mark.parametrize(
    ("stream", "also"),
    [
        (BEGUN, []),
        (Stream(200, is_silent=True), ["sse_buffered"]),
        (Stream(401, refusal="unauthorized"), ["token_refused"]),
    ],
)
def test_without_websockets_the_stream_tells_what_is_wrong(
    stream: Stream, also: list[str]
) -> None:
    assert [id_ for id_, _ in found(BLOCKED, BLOCKED, stream)] == ["upgrade", *also]

from gateway.transport.sse_events import (
    COMMENT,
    encode_end,
    encode_event,
    encode_stream_head,
    join_events,
    parse_event_id,
)
from tests.support.event_streams import StreamEvent, parse_events


def test_a_stream_is_a_response_that_nothing_caches_or_buffers() -> None:
    head, _, body = encode_stream_head({"Vary": "Origin"}, 1500).partition(b"\r\n\r\n")
    status, *fields = head.decode().split("\r\n")
    assert status == "HTTP/1.1 200 OK"
    assert set(fields) == {
        "Content-Type: text/event-stream",
        "Cache-Control: no-store",
        "X-Accel-Buffering: no",
        "Connection: close",
        "Vary: Origin",
    }
    assert body == b"retry: 1500\n\n"


def test_events_have_their_data_and_the_last_one_its_id() -> None:
    stream = (
        join_events([encode_event(b'{"a":1}'), encode_event(b'{"b":2}')])
        + encode_end([b"project:p.g.r.1", b"user:u.g.r.2"])
        + COMMENT
        + encode_event(b"{}")
        + encode_end([])
    )
    cursors = "project:p.g.r.1,user:u.g.r.2"
    assert parse_events(stream) == [
        StreamEvent('{"a":1}', ""),
        StreamEvent('{"b":2}', cursors),
        StreamEvent("{}", cursors),
    ]
    assert parse_event_id(cursors) == ["project:p.g.r.1", "user:u.g.r.2"]


def test_a_line_break_in_a_payload_ends_no_event() -> None:
    stream = encode_event(b'{"a":1,\r\n\n"id": 2}\n') + encode_end([])
    assert parse_events(stream) == [StreamEvent('{"a":1,"id": 2}', "")]

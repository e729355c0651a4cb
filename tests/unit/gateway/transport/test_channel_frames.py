from gateway.transport.channel_frames import ChannelFrames
from gateway.transport.websocket_frames import encode_text_frame
from shared.protocol.channels import Channel

PROJECT = Channel("project", "p")


def frame(row: int, at: int) -> bytes:
    return b'{"id":%d,"timestamp":"%d","cursor":"c%d"}' % (row, at, at)


def test_one_write_has_each_row_once_in_its_newest_position() -> None:
    frames = ChannelFrames(PROJECT, [frame(1, 1), frame(2, 2), frame(1, 3)])
    assert frames.websocket == encode_text_frame(frame(2, 2)) + encode_text_frame(frame(1, 3))
    assert frames.event_stream == b"data: " + frame(2, 2) + b"\n\ndata: " + frame(1, 3) + b"\n"


def test_a_single_frame_is_written_as_it_is() -> None:
    frames = ChannelFrames(PROJECT, [frame(1, 1)])
    assert frames.websocket == encode_text_frame(frame(1, 1))
    assert frames.event_stream == b"data: " + frame(1, 1) + b"\n"


def test_the_last_payload_has_the_cursor_of_all() -> None:
    assert ChannelFrames(PROJECT, [frame(1, 1), frame(2, 2)]).cursor == b"c2"


def test_reconnects_are_never_merged_with_others() -> None:
    reconnects = [b'{"type":"reconnect","cursors":{"c":"%d"}}' % number for number in (1, 2)]
    frames = ChannelFrames(PROJECT, reconnects)
    assert frames.websocket == b"".join(map(encode_text_frame, reconnects))

from gateway.delivery.writes import MAX_CHUNK_BYTES, join_frames, split_messages
from gateway.transport.websocket_frames import encode_text_frame


def frame(row: int, at: int) -> bytes:
    return b'{"id":%d,"timestamp":"%d"}' % (row, at)


def test_one_write_has_each_row_once_in_its_newest_position() -> None:
    joined = join_frames([frame(1, 1), frame(2, 2), frame(1, 3)])
    assert joined == encode_text_frame(frame(2, 2)) + encode_text_frame(frame(1, 3))
    assert join_frames([frame(1, 1)]) == encode_text_frame(frame(1, 1))


def test_messages_are_split_into_chunks_in_order() -> None:
    half = MAX_CHUNK_BYTES // 2
    sizes = [half, half, 1, 3 * half, 1, 1]
    messages = [(b"name", b"x" * size) for size in sizes]
    chunks = [[len(payload) for _, payload in chunk] for chunk in split_messages(messages)]
    assert chunks == [[half, half], [1], [3 * half], [1, 1]]
    assert list(split_messages([])) == []


def test_reconnects_are_never_merged_with_others() -> None:
    reconnects = [b'{"type":"reconnect","cursors":{"c":"%d"}}' % number for number in (1, 2)]
    assert join_frames(reconnects) == b"".join(map(encode_text_frame, reconnects))

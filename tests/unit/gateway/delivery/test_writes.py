from gateway.delivery.writes import MAX_CHUNK_BYTES, split_messages


def test_messages_are_split_into_chunks_in_order() -> None:
    half = MAX_CHUNK_BYTES // 2
    sizes = [half, half, 1, 3 * half, 1, 1]
    messages = [(b"name", b"x" * size) for size in sizes]
    chunks = [[len(payload) for _, payload in chunk] for chunk in split_messages(messages)]
    assert chunks == [[half, half], [1], [3 * half], [1, 1]]
    assert list(split_messages([])) == []

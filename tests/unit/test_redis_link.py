import pytest
from redis.asyncio.connection import Connection, SSLConnection

from shared.redis_link import connect


@pytest.mark.parametrize(
    ("url", "kind"),
    [("redis://localhost", Connection), ("rediss://localhost", SSLConnection)],
)
@pytest.mark.parametrize(
    "command",
    [
        ("SCRIPT LOAD", "return 'ä'"),
        ("EVALSHA", "0a", 1, b"{project:1}:log", "", b"\x00\r\n", -7, 0.5, "x" * 100_000),
    ],
    ids=["of two words", "of all types"],
)
def test_commands_are_packed_as_the_library_would(
    url: str, kind: type[Connection], command: tuple[str | bytes | float, ...]
) -> None:
    pool = connect(url).connection_pool
    ours = pool.connection_class(**pool.connection_kwargs)
    theirs = kind(**pool.connection_kwargs)
    assert isinstance(ours, kind)
    assert b"".join(ours.pack_command(*command)) == b"".join(theirs.pack_command(*command))

import pytest
from redis.asyncio.connection import Connection, SSLConnection
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
)

from shared.links.redis_link import RedisLost, connect, translated_errors
from shared.links.redis_url import parse_redis_url


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
    pool = connect(parse_redis_url(url)).connection_pool
    ours = pool.connection_class(**pool.connection_kwargs)
    theirs = kind(**pool.connection_kwargs)
    assert isinstance(ours, kind)
    assert b"".join(ours.pack_command(*command)) == b"".join(theirs.pack_command(*command))


@pytest.mark.parametrize(
    ("failure", "refusals"),
    [
        (ReadOnlyError("You can't write against a read only replica."), 1),
        (BusyLoadingError("Redis is loading the dataset in memory"), 1),
        (ResponseError("MOVED 3999 127.0.0.1:6381"), 1),
        (AuthenticationError("invalid username-password pair"), 1),
        (OutOfMemoryError("command not allowed when used memory > 'maxmemory'."), 0),
        (ConnectionError("closed"), 0),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_a_refused_command_speaks_for_another_server_unless_this_one_is_full(
    failure: Exception, refusals: int
) -> None:
    client = connect(parse_redis_url("redis://localhost"))
    with pytest.raises(RedisLost, match=type(failure).__name__):
        async with translated_errors(client):
            raise failure
    assert client.refusals == refusals
    await client.aclose()

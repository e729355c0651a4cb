"""The servers of development and tests: where they listen, and how that is shown."""

import asyncio

import pytest

from deploy.dev import servers
from deploy.dev.servers import ServerFailed, free_port
from deploy.dev.stack import shown_address


async def test_a_port_is_one_askers_alone_and_a_server_may_listen_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    port = free_port()
    monkeypatch.setattr(servers, "_PORTS", range(port, port + 1))
    with pytest.raises(ServerFailed, match="no port of"):
        free_port()
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", port)
    server.close()
    await server.wait_closed()


def test_only_the_newest_ports_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "MOST_RESERVED", 0)
    port = free_port()
    monkeypatch.setattr(servers, "_PORTS", range(port, port + 1))
    assert free_port() == port


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:secret@db:5432/app", "postgresql://db:5432/app"),
        ("postgresql://me@db/app?password=secret", "postgresql://db/app"),
        ("redis://:secret@cache:6379", "redis://cache:6379"),
        ("redis://cache:6379?password=secret", "redis://cache:6379"),
        ("redis://127.0.0.1:6399/0", "redis://127.0.0.1:6399/0"),
        ("host=db user=me password=secret", "an address that cannot be read"),
        ("postgresql://me:sec?ret@db/app", "an address that cannot be read"),
        ("postgresql://me:sec/ret@db/app", "an address that cannot be read"),
    ],
)
def test_an_address_is_shown_without_a_password(url: str, shown: str) -> None:
    assert shown_address(url) == shown

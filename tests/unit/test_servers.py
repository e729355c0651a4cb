"""The servers of development and tests: where they listen."""

import asyncio

import pytest

from deploy.dev import servers
from deploy.dev.servers import ServerFailed, free_port


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

"""What the status says of a Redis server that does not answer."""

import socket

import pytest

from deploy.dev.servers import free_port
from shared.links import redis_nodes
from shared.links.redis_access import open_redis
from shared.links.redis_nodes import read_nodes


async def read(port: int, *, is_cluster: bool = False) -> list[dict[str, object]]:
    async with open_redis(f"redis://127.0.0.1:{port}", "", is_cluster=is_cluster) as redis:
        return await read_nodes(redis)


async def test_a_server_that_does_not_answer_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_nodes, "_ASK_SECONDS", 0.01)
    with socket.create_server(("127.0.0.1", 0)) as frozen:  # it connects, but never answers
        for port in (free_port(), frozen.getsockname()[1]):
            [server] = await read(port)
            unknown = {"slots", "replicas", "used_memory_bytes", "version"}
            assert server == {
                "address": f"127.0.0.1:{port}",
                "up": False,
                **dict.fromkeys(unknown),
            }


async def test_a_cluster_of_which_no_node_answers_has_no_nodes() -> None:
    assert await read(free_port(), is_cluster=True) == []

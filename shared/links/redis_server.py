"""Identifies a Redis server, and detects that its address leads to another one."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RedisServer:
    """A server between two restarts or failovers.

    Some managed services hide both ids: their failovers cannot be detected.
    """

    run_id: str
    replication_id: str
    is_primary: bool
    is_cluster_node: bool = False

    @property
    def identity(self) -> str:
        """A text that changes with each restart and failover."""
        return f"{self.run_id}.{self.replication_id}"


def describe_server(info: Mapping[str, object]) -> RedisServer:
    """Return the server that answered INFO (sections ``server`` and ``replication``)."""
    return RedisServer(
        str(info.get("run_id", "")),
        str(info.get("master_replid", "")),
        is_primary=info.get("role") != "slave",
        # Redis, Valkey
        is_cluster_node="cluster" in (info.get("redis_mode"), info.get("server_mode")),
    )


def describe_product(info: Mapping[str, object]) -> str:
    """Return the product and its version in the fields of INFO, as in ``valkey 9.1.0``."""
    name = "valkey" if "valkey_version" in info else "redis"
    return f"{name} {info.get(f'{name}_version', '')}".strip()


def parse_info(text: str) -> dict[str, str]:
    """Return the fields in the text of INFO."""
    fields = (line.partition(":") for line in text.splitlines())
    return {name: value for name, separator, value in fields if separator}


def has_moved(own: RedisServer, seen: RedisServer) -> bool:
    """Whether to leave the server *own*, given the server *seen* on a new connection.

    A replica is no reason to leave, unless it is our own server, which was demoted.
    """
    if seen.is_primary:
        return seen.identity != own.identity
    return seen.run_id == own.run_id

"""Which Redis server answers, and whether the address leads to another one by now."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RedisServer:
    """One server, in one stretch of its history.

    Some managed services tell neither id: their failovers can't be told from here.
    """

    run_id: str
    replication_id: str
    is_primary: bool

    @property
    def identity(self) -> str:
        """Changes with a restart, and with a failover."""
        return f"{self.run_id}.{self.replication_id}"


def describe_server(info: Mapping[str, object]) -> RedisServer:
    """The server that answered INFO (its sections ``server`` and ``replication``)."""
    return RedisServer(
        str(info.get("run_id", "")),
        str(info.get("master_replid", "")),
        is_primary=info.get("role") != "slave",
    )


def parse_info(text: str) -> dict[str, str]:
    """The fields of INFO's text."""
    fields = (line.partition(":") for line in text.splitlines())
    return {name: value for name, separator, value in fields if separator}


def has_moved(own: RedisServer, seen: RedisServer) -> bool:
    """Whether to leave the server *own*, given the one that a new connection leads to.

    A replica is no place to go to; but if it is our own server, that was demoted.
    """
    if seen.is_primary:
        return seen.identity != own.identity
    return seen.run_id == own.run_id

"""Kinds of writes and faults, and their weights in random choice."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

# Kinds of writes with their weights. Only the first writer changes access, so that the times
# of each change are known.
ACCESS_WRITES: Final = {
    "add a member": 5,
    "remove a member": 5,
    "change the owner": 3,
    "create a project": 2,
    "delete a project": 2,
    "create a guest": 1,
    "delete a guest": 1,
}
ROW_WRITES: Final = {
    "insert": 10,
    "update": 14,
    "delete": 4,
    "upsert": 5,
    "move": 6,
    "update many": 3,
    "bulk update": 2,
    "rename the project": 3,
    "insert a sprint": 2,
    "delete a sprint": 2,
    "copy": 3,
    "notify": 3,
    "savepoint": 4,
    "roll back": 3,
    "long transaction": 3,
}

PARTS: Final = ("leader", "standby", "gateway1", "gateway2")
GATEWAYS: Final = ("gateway1", "gateway2")
LINKS: Final = (
    *(f"{part}->{server}" for part in PARTS for server in ("redis", "postgresql")),
    *(f"clients->{gateway}" for gateway in GATEWAYS),
)
PART_FAULTS: Final = {"kill": 4, "restart": 2, "freeze": 3}
SERVER_FAULTS: Final = {
    "redis kill": 3,
    "redis restart": 2,
    "redis freeze": 3,
    "redis older": 2,
    "redis full": 3,
    "redis evict logs": 4,
    "redis evict state": 2,
    "postgresql crash": 2,
    "postgresql restart": 2,
    "postgresql freeze": 2,
    "postgresql backend crash": 2,
}
CLUSTER_FAULTS: Final = {
    "redis kill a primary": 3,
    "redis freeze a primary": 3,
    "redis lose writes": 4,
    "redis fail over": 2,
    "redis take over": 2,
    "redis move slots": 4,
    "redis leave a move open": 2,
    "redis fill a primary": 2,
    "redis evict logs": 2,
    "redis evict state": 1,
    **{kind: weight for kind, weight in SERVER_FAULTS.items() if kind[0] == "p"},
}
LINK_FAULTS: Final = {"cut": 3, "black hole": 4}
BROWSER_FAULTS: Final = {"slow": 3, "reconnect": 4, "reload": 4}


@dataclass(frozen=True)
class Fault:
    """``target`` is a part, a link or a browser; empty where the kind says it."""

    at: float
    kind: str
    target: str
    seconds: float

    def __str__(self) -> str:
        return f"{self.kind} {self.target}".strip()


def server_faults(*, is_cluster: bool) -> Mapping[str, int]:
    """The faults of the servers, with their weights."""
    return CLUSTER_FAULTS if is_cluster else SERVER_FAULTS


def links(*, is_cluster: bool) -> Sequence[str]:
    """The links with a proxy. A cluster's nodes name themselves: nothing is between."""
    return [link for link in LINKS if not (is_cluster and link.endswith("->redis"))]


def all_faults(*, is_cluster: bool = False) -> list[Fault]:
    """One of each kind and target; any browser stands for all."""
    pairs = [
        *((kind, part) for kind in PART_FAULTS for part in PARTS),
        *((kind, "") for kind in server_faults(is_cluster=is_cluster)),
        *((kind, link) for kind in LINK_FAULTS for link in links(is_cluster=is_cluster)),
        *((kind, "browser") for kind in BROWSER_FAULTS),
    ]
    return [Fault(0.0, kind, target, 0.0) for kind, target in pairs]

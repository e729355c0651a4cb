"""Rules: what is wrong with a Redis Cluster, and with the sentinels of a primary."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from operations.check.redis_findings import RedisFacts, find_in_redis, find_in_rights
from shared.runtime.findings import Finding, note, problem


@dataclass(frozen=True, slots=True)
class ClusterFacts:
    """What was read from the nodes of a cluster.

    ``nodes``: the facts of each primary and replica, by its address. ``silent``: why there are
    none, of the others. ``unserved``: how many slots no node serves.
    """

    nodes: Mapping[str, RedisFacts]
    silent: Mapping[str, str] = field(default_factory=dict)
    unserved: int = 0

    @property
    def primaries(self) -> dict[str, RedisFacts]:
        return {
            address: node
            for address, node in self.nodes.items()
            if node.info.get("role") != "slave"
        }


@dataclass(frozen=True, slots=True)
class SentinelFacts:
    """What the sentinels of REDIS_URL say of the primary with that ``name``.

    ``primaries``: its address, by the address of each sentinel that answers; None: it knows no
    such name. ``silent``: why others do not answer. ``no_quorum``: why they could not replace
    the primary; "": they could, or may not be asked.
    """

    name: str
    primaries: Mapping[str, str | None]
    silent: Mapping[str, str] = field(default_factory=dict)
    no_quorum: str = ""

    @property
    def finds_primary(self) -> bool:
        return any(self.primaries.values())


def find_in_cluster(facts: ClusterFacts) -> list[Finding]:
    """Return the findings. One that several nodes have names all of them."""
    found = []
    if facts.unserved:
        found.append(
            problem(
                "redis.cluster_slots",
                f"no node serves {facts.unserved} slots of the cluster: their clients get no "
                "events",
                "assign them: redis-cli --cluster fix",
            )
        )
    found += [
        problem(
            "redis.cluster_node",
            f"the node {address} does not answer: {reason}",
            "see the server, and that it is reached by the address that CLUSTER SLOTS shows "
            "(cluster-announce-ip, cluster-announce-hostname) and has the user of REDIS_URL",
        )
        for address, reason in facts.silent.items()
    ]
    nodes_of: dict[Finding, list[str]] = {}
    for address, node in facts.nodes.items():
        for one in _find_in_node(node):
            nodes_of.setdefault(one, []).append(address)
    return found + [
        replace(one, what=f"{', '.join(addresses)}: {one.what}")
        for one, addresses in nodes_of.items()
    ]


def _find_in_node(node: RedisFacts) -> Iterator[Finding]:
    if node.info.get("role") == "slave":
        yield from find_in_rights(node)  # it may become a primary
        return
    yield from find_in_redis(node, is_cluster=True)
    if not node.is_cluster_node:
        return
    if node.info.get("connected_slaves") == "0":
        yield note(
            "redis.no_replica",
            "this primary has no replica: while it is away, its clients get no events",
            "add a replica",
        )
    if node.full_coverage == "yes":
        yield note(
            "redis.full_coverage",
            "cluster-require-full-coverage is yes: one lost primary stops the whole cluster",
            "set it to no",
        )


def find_in_sentinels(facts: SentinelFacts) -> list[Finding]:
    """Return the findings."""
    if facts.primaries and not facts.finds_primary:
        return [
            problem(
                "redis.sentinel_name",
                f"no sentinel watches a primary named {facts.name}",
                "correct the name in REDIS_URL, or see SENTINEL MASTERS",
            )
        ]
    found = []
    named = {primary for primary in facts.primaries.values() if primary is not None}
    if len(named) > 1:
        says = ", ".join(f"{one} says {primary}" for one, primary in facts.primaries.items())
        found.append(
            problem(
                "redis.sentinels_differ",
                f"the sentinels do not agree where {facts.name} is: {says}",
                "if it is not being replaced just now, remove the wrong ones from REDIS_URL",
            )
        )
    if facts.no_quorum:
        found.append(
            problem(
                "redis.quorum",
                f"the sentinels could not replace the primary: {facts.no_quorum}",
                "start more sentinels, or lower the quorum",
            )
        )
    unknown = {
        one: f"it watches no primary named {facts.name}"
        for one, primary in facts.primaries.items()
        if primary is None
    }
    if facts.finds_primary:
        found += [
            note(
                "redis.sentinel",
                f"the sentinel {address} is of no use: {reason}",
                "repair it, or remove it from REDIS_URL",
            )
            for address, reason in {**facts.silent, **unknown}.items()
        ]
    return found

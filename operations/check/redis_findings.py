"""Rules: what is wrong with a Redis or Valkey server, given the facts that were read."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from shared.links.redis_server import describe_product
from shared.runtime.findings import Finding, note, problem

MIN_REDIS: Final = (7, 0)
MIN_VALKEY: Final = (7, 2)
SLOW_SECONDS: Final = 0.05
MIN_BUFFER: Final = (32 * 2**20, 8 * 2**20, 60)  # the default of Redis and Valkey
# classes of redis-py's errors, with which their texts begin
NO_RIGHT: Final = "NoPermissionError"
FULL: Final = "OutOfMemoryError"
MOVED: Final = "MovedError"
_DOCUMENT: Final = "docs/how-to/redis.md"
_SIZE: Final = re.compile(r"(\d+)([kmg]?)b?", re.IGNORECASE)
_UNITS: Final = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30}


@dataclass(frozen=True, slots=True)
class RedisFacts:
    """What was read from a server.

    ``info``: the fields of INFO; empty if it is not permitted. ``errors``: the error of each
    command that the server refused. ``pubsub_buffer``: its ``client-output-buffer-limit`` of
    class pubsub, ``full_coverage``: its ``cluster-require-full-coverage``; "" if CONFIG is not
    permitted. ``ping_seconds``: the shortest of some round trips. ``clock_ahead``: by how many
    seconds its clock is ahead of this machine's; None: unknown.
    ``database``: of the leader that has written its state here ("": none), ``own_database``
    that of DATABASE_URL ("": unknown), and whether a leader of the former runs.
    """

    info: Mapping[str, str] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)
    pubsub_buffer: str = ""
    full_coverage: str = ""
    clock_ahead: float | None = None
    ping_seconds: float = 0.0
    database: str = ""
    own_database: str = ""
    has_foreign_leader: bool = False

    @property
    def is_cluster_node(self) -> bool:
        return self.info.get("cluster_enabled") == "1"

    @property
    def version(self) -> str:
        """The product and its version, as in ``valkey 9.1.0``."""
        return describe_product(self.info)


def find_in_redis(facts: RedisFacts, *, is_cluster: bool = False) -> list[Finding]:
    """Return the findings, problems first. *is_cluster*: REDIS_CLUSTER is set."""
    found = [*_find_in_server(facts, is_cluster=is_cluster), *find_in_rights(facts)]
    if facts.info.get("role") != "slave" and facts.is_cluster_node == is_cluster:
        found += [
            problem("redis.error", f"{name} failed: {error}", f"see {_DOCUMENT}")
            for name, error in facts.errors.items()
            if not any(word in error for word in (NO_RIGHT, FULL, MOVED))
        ]
    if facts.has_foreign_leader:
        found.append(
            problem(
                "redis.prefix_taken",
                "a leader of another database uses this REDIS_PREFIX",
                "give each database a prefix",
            )
        )
    elif (
        "" not in (facts.database, facts.own_database) and facts.database != facts.own_database
    ):
        found.append(
            note(
                "redis.former_database",
                "the state stored under this REDIS_PREFIX is of another database, whose leader "
                "is not running",
                "do nothing if DATABASE_URL has replaced it; otherwise set another prefix",
            )
        )
    return found + _find_notes(facts)


def _find_in_server(facts: RedisFacts, *, is_cluster: bool) -> list[Finding]:
    info, found = facts.info, []
    minimum = MIN_VALKEY if "valkey_version" in info else MIN_REDIS
    if "redis_version" in info and _numbers(facts.version) < minimum:
        found.append(
            problem(
                "redis.version",
                f"{facts.version} is not supported",
                "use Redis 7, Valkey 7.2, or newer",
            )
        )
    if info.get("role") == "slave":
        found.append(
            problem(
                "redis.replica",
                "REDIS_URL leads to a replica",
                "make it lead to the primary, also after a failover",
            )
        )
    if facts.is_cluster_node and not is_cluster:
        found.append(
            problem(
                "redis.cluster",
                "REDIS_URL leads to a node of a cluster",
                "set REDIS_CLUSTER=true",
            )
        )
    elif is_cluster and info.get("cluster_enabled") == "0":
        found.append(
            problem(
                "redis.cluster",
                "REDIS_CLUSTER is set, but REDIS_URL leads to a single server",
                "unset REDIS_CLUSTER, or name a node of the cluster",
            )
        )
    return found


def find_in_rights(facts: RedisFacts) -> list[Finding]:
    """Return what keeps commands from being executed, which is true of a replica too."""
    refused = [name for name, error in facts.errors.items() if NO_RIGHT in error]
    found = []
    if refused:
        found.append(
            problem(
                "redis.rights",
                f"the user of REDIS_URL may not use {', '.join(refused)} on Neverstale's keys "
                "or channels",
                f"give it the rights in {_DOCUMENT}",
            )
        )
    if any(FULL in error for error in facts.errors.values()):
        found.append(
            problem(
                "redis.full",
                "Redis is full and evicts nothing: no event is published",
                "raise maxmemory, or set maxmemory-policy to volatile-lru",
            )
        )
    return found


def _find_notes(facts: RedisFacts) -> list[Finding]:
    info, found = facts.info, []
    if info and not (info.get("run_id") and info.get("master_replid") and info.get("role")):
        found.append(
            note(
                "redis.hidden_identity",
                "INFO does not show run_id, master_replid and role: a failover that loses "
                "events cannot be detected",
                "use a service that shows them",
            )
        )
    policy = info.get("maxmemory_policy", "")
    if info.get("maxmemory", "0") != "0" and policy.startswith("allkeys-"):
        found.append(
            note(
                "redis.eviction",
                f"maxmemory-policy is {policy}, which may evict the state: every client is "
                "reset then",
                "set it to volatile-lru or noeviction",
            )
        )
    if facts.pubsub_buffer and _is_small(facts.pubsub_buffer):
        found.append(
            note(
                "redis.output_buffer",
                f"client-output-buffer-limit pubsub is {facts.pubsub_buffer}, below the "
                "default: gateways are disconnected during bursts, and their clients catch up",
                "set it to 32mb 8mb 60 or above",
            )
        )
    if facts.ping_seconds > SLOW_SECONDS:
        found.append(
            note(
                "redis.slow",
                f"a round trip to Redis takes {facts.ping_seconds * 1000:.1f} ms from here: "
                "each event waits for several",
                "run Redis beside the listeners and gateways",
            )
        )
    return found


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)[:2]))


def _is_small(limit: str) -> bool:
    """Whether a limit as CONFIG shows it, ``hard soft seconds``, is below the default."""
    words = limit.split()
    if len(words) != len(MIN_BUFFER):
        return False
    return any(
        0 < _bytes(word) < minimum for word, minimum in zip(words, MIN_BUFFER, strict=True)
    )


def _bytes(text: str) -> int:
    """The number in ``33554432`` or ``32mb``; 0, which is no limit, for anything else."""
    found = _SIZE.fullmatch(text)
    return int(found[1]) * _UNITS[found[2].lower()] if found else 0

"""The servers that all processes of a simulation share."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

from gateway.transport.websocket_frames import encode_text_frame
from shared.config.access_rules import AccessRules
from shared.links.redis_access import RedisAccess
from shared.protocol.channels import Channel, RedisNames
from shared.protocol.control_messages import Recheck, parse_recheck, parse_tick
from tests.simulation import database, redis_server
from tests.simulation.clockwork import Calls, Loop
from tests.simulation.redis_cluster import TARGET, Cluster

RULES: Final = AccessRules("text", "text", "query", "members")
NAMES: Final = RedisNames()
MAX_ROWS: Final = 2
TTL_SECONDS: Final = 86400


class Violation(AssertionError):
    """The promise was broken."""


class Servers:
    """What all processes share."""

    def __init__(self, *, is_cluster: bool = False) -> None:
        self.loop = Loop()
        self.calls = Calls(self.loop)
        self.database = database.Database()
        self.cluster = Cluster(self.loop, self.calls, self._overhear) if is_cluster else None
        self.redis = (
            self.cluster.state_server
            if self.cluster
            else redis_server.Server(self.loop, self.calls)
        )
        self.redis.overhear = self._overhear
        self.published = self.redis.published
        self.loop.connector = self._connect
        self._generation = ""
        self._rechecked: dict[Recheck, int] = {}  # at which commit

    @property
    def redis_servers(self) -> Sequence[redis_server.Server]:
        return [*self.cluster.servers.values()] if self.cluster else [self.redis]

    def redis_of(self, key: str) -> redis_server.Server:
        """The server of a channel's log, or of the state."""
        if self.cluster is None:
            return self.redis
        return self.cluster.owner(NAMES.state if key == "state" else f"{{{key}}}")

    def access(self, owner: str) -> RedisAccess:
        """How a process reaches Redis."""
        if self.cluster is not None:
            return self.cluster.access(owner)
        client: Any = redis_server.Client(lambda: self.redis, owner)
        return RedisAccess(NAMES, TARGET.at(owner, 1), client)

    def links_of(self, owner: str) -> list[redis_server.Link]:
        """All subscriber connections of a process."""
        return [link for server in self.redis_servers for link in server.links_of(owner)]

    def _connect(self, host: str, protocol: asyncio.Protocol) -> asyncio.Transport:
        """Connect to the one server, or to the node that a name like gateway/node/use names."""
        if self.cluster is None:
            return self.redis.connect(host, protocol)
        return self.cluster.servers[host.split("/")[1]].connect(host, protocol)

    def _overhear(self, channel: bytes, payload: bytes) -> None:
        """A loss is published, as a recheck or a reset, before what was committed after it."""
        tick, recheck = parse_tick(payload), parse_recheck(payload)
        if channel == NAMES.recheck.encode() and recheck is not None:
            self._rechecked[recheck] = self.database.commits
        elif channel == NAMES.tick.encode() and tick is not None:
            if tick.generation != self._generation:
                self._rechecked[Recheck(None, None)] = self.database.commits
            self._generation = tick.generation
        for told, commit in self.published.told_in(encode_text_frame(payload)):
            for (project, user), lost in self.database.lost.items():
                rechecked = last_recheck(self._rechecked, project, user)
                if told == Channel("project", project) and rechecked < lost < commit:
                    raise Violation(
                        f"{told.name} continues before the loss of {user} is published"
                    )


def last_recheck(rechecked: Mapping[Recheck, int], project: str, user: str) -> int:
    """The newest commit at which a recheck concerned this access."""
    return max(rechecked.get(Recheck(p, u), 0) for p in (project, None) for u in (user, None))

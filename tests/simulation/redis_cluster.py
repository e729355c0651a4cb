"""A model of a Redis Cluster: nodes that serve slots, and what processes see of them."""

from collections.abc import Callable, Iterator
from itertools import count, groupby
from typing import Any, Final

from shared.links.redis_access import RedisAccess
from shared.links.redis_url import RedisUrl, parse_redis_url
from shared.protocol.channels import RedisNames
from shared.protocol.slots import SeenRange, slot_of
from tests.simulation.clockwork import Calls, Loop
from tests.simulation.published import Published
from tests.simulation.redis_server import Client, Server

SLOTS: Final = 16  # instead of 16,384
TARGET: Final = parse_redis_url("redis://localhost")
NAMES: Final = RedisNames(is_cluster=True)


class Cluster:
    """Two nodes that serve every other slot, until slots are moved or nodes replaced."""

    def __init__(
        self, loop: Loop, calls: Calls, overhear: Callable[[bytes, bytes], None]
    ) -> None:
        self._loop = loop
        self._calls = calls
        self._overhear = overhear
        self.published = Published()
        self.servers: dict[str, Server] = {}
        self._numbers = count(1)
        self.owners = [self._add(), self._add()] * (SLOTS // 2)

    def _add(self) -> str:
        number = next(self._numbers)
        name = f"node{number}"
        server = Server(
            self._loop,
            self._calls,
            name=name,
            published=self.published,
            serves=lambda key: self.owners[slot_of(key)] == name,
        )
        server.run_id = 1000 * number
        server.overhear = self._overhear
        self.servers[name] = server
        return name

    def owner(self, key: str) -> Server:
        """The node that serves a key or shard channel."""
        return self.servers[self.owners[slot_of(key)]]

    @property
    def state_server(self) -> Server:
        return self.owner(NAMES.state)

    def seen(self) -> list[SeenRange]:
        """What a survey of all nodes returns."""
        found = []
        for name, group in groupby(enumerate(self.owners), key=lambda entry: entry[1]):
            slots = [slot for slot, _ in group]
            identity = self.servers[name].identity()
            found.append(SeenRange(slots[0], slots[-1], name, 1, identity))
        return found

    def take_over(self, key: str, *, knows: bool) -> None:
        """Replace the node of a key by another one, which has what was saved last.

        Unless the old one *knows*, it still takes writes from those who are connected to it.
        """
        old = self.owner(key)
        name = self._add()
        new = self.servers[name]
        old.hand_over(new)
        self.owners = [name if owner == old.name else owner for owner in self.owners]
        if not knows:
            old.serves = lambda _: True
        old.unsubscribe_moved()

    def learn(self) -> None:
        """Replaced nodes learn that they serve nothing any more."""
        for name, server in self.servers.items():
            if name not in self.owners:
                server.serves = lambda _: False
                server.unsubscribe_moved()

    def move_slot(self, key: str) -> None:
        """Move the key's slot with all its logs to another node."""
        slot, old = slot_of(key), self.owner(key)
        others = [name for name in self.owners if name != old.name]
        if not others or slot == slot_of(NAMES.state):
            return
        new = self.servers[others[0]]
        for log_key in [one for one in old.store.logs if slot_of(one) == slot]:
            new.store.logs[log_key] = old.store.logs.pop(log_key)
        self.owners[slot] = new.name
        old.unsubscribe_moved()

    def links(self, owner: str) -> Iterator[Any]:
        """All subscriber connections of a process."""
        for server in self.servers.values():
            yield from server.links_of(owner)

    def access(self, owner: str) -> RedisAccess:
        """How a process reaches the cluster."""
        nodes: Any = _Nodes(self, owner)

        async def locate() -> tuple[str, int]:
            return f"{owner}/{self.state_server.name}/control", 1

        client: Any = Client(lambda: self.state_server, owner)
        return RedisAccess(NAMES, TARGET, client, locate, nodes)


class _Nodes:
    """Replaces ``ClusterNodes`` for one process."""

    def __init__(self, cluster: Cluster, owner: str) -> None:
        self._cluster = cluster
        self._owner = owner
        self._clients: dict[str, Client] = {}

    def target(self, host: str, port: int) -> RedisUrl:
        return TARGET.at(f"{self._owner}/{host}/shard", port)

    def client(self, host: str, _port: int) -> Client:
        if host not in self._clients:
            self._clients[host] = Client(lambda: self._cluster.servers[host], self._owner)
        return self._clients[host]

    async def survey(self) -> list[SeenRange]:
        cluster = self._cluster
        return await cluster.state_server.calls.make(
            self._owner, "cluster", "survey", cluster.seen
        )

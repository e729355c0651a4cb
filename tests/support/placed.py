"""Users and projects whose channels a chosen node of a cluster serves."""

import uuid
from dataclasses import dataclass

from shared.protocol.channels import Channel, ChannelKind, RedisNames
from shared.protocol.slots import slot_of
from tests.support.redis_cluster import ClusterNode, RedisCluster
from tests.support.world import World


@dataclass(frozen=True)
class Placed:
    """A user with one project; the channels of both have their slots on one node."""

    user: str
    project: str
    slots: frozenset[int]


class Placement:
    """Makes users and projects of a world on a cluster."""

    def __init__(self, world: World, cluster: RedisCluster) -> None:
        self._world = world
        self._cluster = cluster
        self._names = RedisNames(world.prefix, is_cluster=True)

    @property
    def state_slot(self) -> int:
        return slot_of(self._names.state)

    async def state_node(self) -> ClusterNode:
        """Return the primary that serves the slot of the state."""
        return await self._cluster.owner(self.state_slot)

    async def other_nodes(self) -> list[ClusterNode]:
        """Return the primaries that do not serve it."""
        state_node = await self.state_node()
        return [node for node in self._cluster.primaries if node is not state_node]

    async def on(self, node: ClusterNode) -> Placed:
        """Make a user and a project on a node."""
        slots = await self._cluster.slots_of(node)
        user, user_slot = self._find("user", slots)
        project, project_slot = self._find("project", slots)
        database = self._world.database
        await database.execute("insert into users (id, name) values ($1, 'placed')", user)
        await database.execute(
            "insert into projects (id, owner_id, name) values ($1, $2, 'placed')", project, user
        )
        return Placed(user, project, frozenset((user_slot, project_slot)))

    def _find(self, kind: ChannelKind, slots: set[int]) -> tuple[str, int]:
        while True:
            found = str(uuid.uuid4())
            slot = slot_of(self._names.channel(Channel(kind, found)))
            if slot in slots:
                return found, slot

    async def change(self, placed: Placed, count: int = 1) -> set[str]:
        """Insert tasks of the project, and return their ids."""
        return {
            str(
                await self._world.database.fetchval(
                    "insert into tasks (project_id, title) values ($1, 'new') returning id",
                    placed.project,
                )
            )
            for _ in range(count)
        }

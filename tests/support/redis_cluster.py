"""A Redis Cluster of real servers on loopback."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from redis.exceptions import RedisError

from deploy.dev.servers import ValkeyServer, free_port
from shared.protocol.slots import SLOT_COUNT
from tests.support.processes import HANG_SECONDS
from tests.support.redis_pair import command

NODE_TIMEOUT_MS: Final = 1000  # after which a node that does not answer is replaced


class ClusterNode(ValkeyServer):
    """One server of the cluster."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.bus_port = free_port()

    def _prepare(self) -> list[str]:
        options = {
            "cluster-enabled": "yes",
            "cluster-port": self.bus_port,
            "cluster-node-timeout": NODE_TIMEOUT_MS,
            "cluster-replica-validity-factor": 0,
            "cluster-require-full-coverage": "no",
            "repl-diskless-sync-delay": 0,
        }
        words = [f"{word}" for name, value in options.items() for word in (f"--{name}", value)]
        return [*super()._prepare(), *words]

    async def id(self) -> str:
        return str(await command(self, "CLUSTER", "MYID"))


class RedisCluster:
    """Primaries that share the slots evenly, and a replica of each."""

    def __init__(self, folder: Path, *, primaries: int = 3, replicas: bool = True) -> None:
        self._folder = folder
        count = primaries * (2 if replicas else 1)
        self.nodes = [ClusterNode(folder / f"node{number}") for number in range(count)]
        self.primaries = self.nodes[:primaries]

    @property
    def url(self) -> str:
        return "redis://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes[:3])

    async def start(self) -> None:
        await asyncio.gather(*(asyncio.to_thread(node.start) for node in self.nodes))
        count = len(self.primaries)
        for number, node in enumerate(self.primaries):
            first, last = (SLOT_COUNT * n // count for n in (number, number + 1))
            await command(node, "CLUSTER", "ADDSLOTSRANGE", first, last - 1)
            await command(node, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for node in self.nodes[1:]:
            await self._meet(node)
        await self._until_agreed(self.nodes)
        for primary, replica in zip(self.primaries, self.nodes[count:], strict=False):
            await command(replica, "CLUSTER", "REPLICATE", await primary.id())
        for replica in self.nodes[count:]:
            await self.in_sync(replica)
        await self._until_agreed(self.nodes, len(self.nodes) - count)

    def kill(self) -> None:
        for node in self.nodes:
            node.kill()

    async def add_primary(self) -> ClusterNode:
        """Start one more node, without slots."""
        node = ClusterNode(self._folder / f"node{len(self.nodes)}")
        await asyncio.to_thread(node.start)
        await self._meet(node)
        self.nodes.append(node)
        self.primaries.append(node)
        await self._until_agreed(self.nodes)
        return node

    async def owner(self, slot: int, *, unless: ClusterNode | None = None) -> ClusterNode:
        """Wait until a running node says that it serves the slot, and return it."""
        async with asyncio.timeout(HANG_SECONDS):
            while True:
                for node in self.nodes:
                    if node is not unless and await self._serves(node, slot):
                        return node
                await asyncio.sleep(0.05)

    async def _serves(self, node: ClusterNode, slot: int) -> bool:
        try:
            async with asyncio.timeout(1):
                ranges = await command(node, "CLUSTER", "SLOTS")
                role = await command(node, "ROLE")
        except (OSError, TimeoutError, RedisError):
            return False
        return role[0] == "master" and any(
            first <= slot <= last and address[1] == node.port
            for first, last, address, *_ in ranges
        )

    async def slots_of(self, node: ClusterNode) -> set[int]:
        """Return the slots that a node says it serves."""
        ranges = await command(node, "CLUSTER", "SLOTS")
        return {
            slot
            for first, last, address, *_ in ranges
            if address[1] == node.port
            for slot in range(first, last + 1)
        }

    def replica_of(self, primary: ClusterNode) -> ClusterNode:
        """Return the replica that the cluster was made with."""
        return self.nodes[self.nodes.index(primary) + len(self.nodes) // 2]

    async def current_primaries(self) -> list[ClusterNode]:
        """Return the primaries that serve slots, in the order of these."""
        first = {}
        for node in self.nodes:
            slots = await self.slots_of(node) if await self._role(node) == "master" else set()
            if slots:
                first[min(slots)] = node
        return [node for _, node in sorted(first.items())]

    async def replicas_of(self, primary: ClusterNode) -> list[ClusterNode]:
        """Return its replicas, in the order of ``nodes``."""
        for ranges in await command(primary, "CLUSTER", "SLOTS"):
            _, _, owner, *replicas = ranges
            if owner[1] == primary.port:
                ports = {replica[1] for replica in replicas}
                return [node for node in self.nodes if node.port in ports]
        return []

    async def settled(self) -> None:
        """Wait until all nodes agree, and all replicas are in sync."""
        count = len(await self.current_primaries())
        await self._until_agreed(self.nodes, len(self.nodes) - count)
        for node in self.nodes:
            if await self._role(node) == "slave":
                await self.in_sync(node)

    async def _role(self, node: ClusterNode) -> str:
        return str((await command(node, "ROLE"))[0])

    async def move(
        self, slots: Sequence[int], target: ClusterNode, *, pause_seconds: float = 0.0
    ) -> None:
        """Move slots with their keys, one after another, as ``--cluster reshard`` does.

        Pauses before each slot's move is finished, with its keys at the target.
        """
        target_id = await target.id()
        for slot in slots:
            source = await self.owner(slot)
            source_id = await source.id()
            await command(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", source_id)
            await command(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", target_id)
            await self.move_keys(slot, source, target)
            await asyncio.sleep(pause_seconds)
            for node in (target, source):
                await command(node, "CLUSTER", "SETSLOT", slot, "NODE", target_id)

    async def move_keys(self, slot: int, source: ClusterNode, target: ClusterNode) -> None:
        while keys := await command(source, "CLUSTER", "GETKEYSINSLOT", slot, 100):
            at = ("127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)
            await command(source, "MIGRATE", *at)

    async def in_sync(self, replica: ClusterNode) -> None:
        """Wait until the replica has its primary's data."""
        async with asyncio.timeout(HANG_SECONDS):
            while True:
                role = await command(replica, "ROLE")
                if role[0] == "slave" and role[3] == "connected":
                    return
                await asyncio.sleep(0.02)

    async def _meet(self, node: ClusterNode) -> None:
        at = ("127.0.0.1", self.nodes[0].port, self.nodes[0].bus_port)
        await command(node, "CLUSTER", "MEET", *at)

    async def _until_agreed(self, nodes: Sequence[ClusterNode], replicas: int = 0) -> None:
        """Wait until every node knows all, and that all slots are served."""
        async with asyncio.timeout(HANG_SECONDS):
            for node in nodes:
                while True:
                    info = (await command(node, "CLUSTER", "INFO")).split()
                    ranges = await command(node, "CLUSTER", "SLOTS")
                    if {f"cluster_known_nodes:{len(nodes)}", "cluster_state:ok"} <= {
                        *info
                    } and sum(len(one) - 3 for one in ranges) >= replicas:
                        break
                    await asyncio.sleep(0.02)


@asynccontextmanager
async def redis_cluster(
    *, primaries: int = 3, replicas: bool = True
) -> AsyncIterator[RedisCluster]:
    """Yield a running cluster."""
    with tempfile.TemporaryDirectory(prefix="neverstale-test-") as name:
        cluster = RedisCluster(Path(name), primaries=primaries, replicas=replicas)
        try:
            await cluster.start()
            yield cluster
        finally:
            cluster.kill()

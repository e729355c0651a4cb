"""The nodes of a Redis Cluster: clients of them, and what they say of who serves which slot."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from redis.exceptions import (
    AskError,
    ClusterDownError,
    MovedError,
    RedisError,
    ResponseError,
    TryAgainError,
)

from shared.links.redis_link import Client, Locate, RedisLost, connect, describe_error
from shared.links.redis_server import describe_server
from shared.links.redis_url import RedisUrl
from shared.protocol.slots import Claim, SeenRange, merge_claims, slot_of

ASK_SECONDS: Final = 1.0
# Answers of a node about one slot: another serves it, it is being moved, or nobody serves it.
MOVED_ERRORS: Final = (MovedError, AskError, TryAgainError, ClusterDownError)
REST_SECONDS: Final = 3.0  # in which a node that did not answer is not asked


class Address(NamedTuple):
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class _Report:
    """What one node says: itself (None: no primary), who serves which slots, and replicas."""

    identity: str | None
    claims: Sequence[Claim]
    replicas: Sequence[Address]


class ClusterNodes:
    """All nodes, reached by the login of the target.

    Some of them, the target's hosts, are known from the beginning.
    """

    def __init__(self, target: RedisUrl) -> None:
        self._target = target
        self._seeds = [Address(*host) for host in target.hosts]
        self._known = dict.fromkeys(self._seeds)
        self._clients: dict[Address, Client] = {}
        self._rest_until: dict[Address, float] = {}

    @property
    def addresses(self) -> list[Address]:
        """Return where all nodes are, by the last survey."""
        return [*self._known]

    def target(self, host: str, port: int) -> RedisUrl:
        """Return how to reach a node."""
        return self._target.at(host, port)

    def client(self, host: str, port: int) -> Client:
        """Return the client of a node."""
        address = Address(host, port)
        if address not in self._clients:
            self._clients[address] = connect(self.target(host, port))
        return self._clients[address]

    async def aclose(self) -> None:
        for client in self._clients.values():
            await client.aclose()

    def locate(self, key: str) -> Locate:
        """Return what looks up the node that serves a key."""
        slot = slot_of(key)

        async def locate() -> tuple[str, int]:
            for first, last, host, port, _ in await self.survey():
                if first <= slot <= last:
                    return host, port
            raise RedisLost("no node of the cluster serves the slot of neverstale:state")

        return locate

    async def survey(self) -> list[SeenRange]:
        """Return which primary serves which slots, by the views of all known nodes.

        Raises ``RedisLost`` if no node answers.
        """
        reports: dict[Address, _Report] = {}
        errors: list[str] = []
        await self._ask_all([*self._known], reports, errors)
        if not reports:
            # those that rest may be the only ones that are left
            self._rest_until.clear()
            await self._ask_all([*self._known, *self._seeds], reports, errors)
        if not reports:
            raise RedisLost(f"no node of the cluster answers: {'; '.join(errors[:3])}")
        ranges = merge_claims(claim for report in reports.values() for claim in report.claims)
        owners = dict.fromkeys(Address(host, port) for _, _, host, port in ranges)
        await self._ask_all([one for one in owners if one not in reports], reports, errors)
        replicas = {one for report in reports.values() for one in report.replicas}
        await self._forget_all_but({*self._seeds, *owners, *replicas})
        identities = {address: report.identity for address, report in reports.items()}
        return [
            SeenRange(first, last, host, port, identities.get(Address(host, port)))
            for first, last, host, port in ranges
        ]

    async def _ask_all(
        self, addresses: Sequence[Address], reports: dict[Address, _Report], errors: list[str]
    ) -> None:
        loop = asyncio.get_running_loop()

        async def ask(address: Address) -> None:
            try:
                async with asyncio.timeout(ASK_SECONDS):
                    reports[address] = await self._ask(address)
            except (RedisError, OSError, RedisLost) as exc:
                errors.append(describe_error(exc))
                self._rest_until[address] = loop.time() + REST_SECONDS
                await self.client(*address).drop_connections()

        async with asyncio.TaskGroup() as tasks:
            for address in dict.fromkeys(addresses):
                if self._rest_until.get(address, 0.0) <= loop.time():
                    tasks.create_task(ask(address))

    async def _ask(self, address: Address) -> _Report:
        async with self.client(*address).pipeline(transaction=False) as pipeline:
            pipeline.info("server")  # type: ignore[unused-awaitable]
            pipeline.info("replication")  # type: ignore[unused-awaitable]
            pipeline.execute_command("CLUSTER", "NODES")
            pipeline.execute_command("CLUSTER", "SLOTS")
            try:
                server, replication, nodes, slots = await pipeline.execute()
            except ResponseError as exc:
                if "cluster support disabled" in str(exc):
                    raise RedisLost(
                        "this server is no node of a cluster: unset REDIS_CLUSTER"
                    ) from exc
                raise
        return _describe(address, {**server, **replication}, nodes, slots)

    async def _forget_all_but(self, known: set[Address]) -> None:
        self._known = dict.fromkeys(known)
        for address in self._clients.keys() - known:
            await self._clients.pop(address).aclose()


def _describe(
    asked: Address, server: Mapping[str, object], nodes: bytes, slots: Sequence[Any]
) -> _Report:
    described = describe_server(server)
    # a line of CLUSTER NODES: id, address, flags, primary, ping, pong, epoch, link, slots
    lines = (line.split() for line in nodes.splitlines())
    epochs = {words[0]: int(words[6]) for words in lines if len(words) > 6}
    claims, replicas = [], []
    for first, last, owner, *others in slots:
        epoch = epochs.get(owner[2], 0)
        claims.append(Claim(epoch, int(first), int(last), *_address(asked, owner)))
        replicas += [_address(asked, replica) for replica in others]
    identity = described.identity if described.is_primary else None
    return _Report(identity, claims, replicas)


def _address(asked: Address, node: Sequence[Any]) -> Address:
    """The address of a node in the answer of another; without a host it is the asked one's."""
    host = (node[0] or b"").decode()
    return Address(host if host not in ("", "?") else asked.host, int(node[1]))

"""``check`` and ``status`` on a Redis Cluster and on sentinels: what is wrong is seen."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from deploy.dev.servers import ValkeyServer, free_port
from listener.setup.install import Config
from operations.check.examination import Examination, Targets
from operations.check.gateway_facts import STATUS_PATH
from operations.check.report import Report
from operations.settings import CheckSettings
from operations.status.reading import read_from_redis
from shared.config.config_file import read_config
from shared.config.settings import load_settings
from shared.protocol.channels import RedisNames
from shared.protocol.slots import SLOT_COUNT, slot_of
from tests.support.documented import PASSWORD, documented_rights
from tests.support.placed import Placement
from tests.support.processes import HANG_SECONDS, Part, token
from tests.support.redis_cluster import ClusterNode, RedisCluster, redis_cluster
from tests.support.redis_pair import command
from tests.support.redis_sentinel import Sentinel
from tests.support.servers import Servers
from tests.support.world import World, make_world

CLUSTER_RIGHTS = ("+cluster|nodes", "+cluster|slots", "+spublish", "+ssubscribe")
KEY = "a key for tests that is long enough"
NOTHING_MORE = Targets()
NO_REPLICA = "redis.no_replica"  # the cluster of these tests has none

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster() -> AsyncIterator[RedisCluster]:
    async with redis_cluster(replicas=False) as made:
        yield made


async def report(url: str, targets: Targets = NOTHING_MORE, **more: str) -> Report:
    settings = load_settings(CheckSettings, {**more, "REDIS_URL": url})
    config = Config.parse(read_config(settings.neverstale_config), log_max_bytes=2**30)
    made = await Examination(settings, config, None, targets).run()
    assert all(one.what and one.todo for one in made.findings)
    assert PASSWORD not in str(made.as_json())
    return made


async def found(cluster: RedisCluster, url: str = "") -> dict[str, str]:
    """Return what was found, by its id, apart from the replicas that are missing."""
    made = await report(url or cluster.url, REDIS_CLUSTER="true")
    told = {one.id: one.what for one in made.findings}
    assert len(told) == len(made.findings)
    told.pop(NO_REPLICA, None)
    return told


def address(node: ClusterNode) -> str:
    return f"127.0.0.1:{node.port}"


async def test_each_primary_is_examined(cluster: RedisCluster) -> None:
    made = await report(cluster.url, REDIS_CLUSTER="true")
    [finding] = made.findings
    assert finding.id == NO_REPLICA
    assert all(address(node) in finding.what for node in cluster.primaries)
    checked = made.checked["redis"]
    assert (checked["primaries"], checked["replicas"]) == (3, 0)
    assert checked["version"].startswith("valkey ")
    assert set(made.clocks) == {f"redis {address(node)}" for node in cluster.primaries}
    for node in cluster.primaries:
        assert await command(node, "DBSIZE") == 0, "the check leaves nothing"


@pytest.mark.parametrize(
    ("setting", "value", "default", "id_"),
    [
        (
            "client-output-buffer-limit",
            "pubsub 1mb 1mb 10",
            "pubsub 32mb 8mb 60",
            "output_buffer",
        ),
        ("cluster-require-full-coverage", "yes", "no", "full_coverage"),
    ],
)
async def test_a_setting_of_one_node_is_a_finding(
    cluster: RedisCluster, setting: str, value: str, default: str, id_: str
) -> None:
    node, *others = cluster.primaries
    await command(node, "CONFIG", "SET", setting, value)
    told = await found(cluster)
    await command(node, "CONFIG", "SET", setting, default)
    assert set(told) == {f"redis.{id_}"}
    assert address(node) in told[f"redis.{id_}"]
    assert not any(address(other) in told[f"redis.{id_}"] for other in others)


async def test_missing_rights_are_a_finding(cluster: RedisCluster) -> None:
    """Also those on one node alone: each node has its own users."""
    rights = [*documented_rights(), *CLUSTER_RIGHTS, "+sunsubscribe"]
    url = cluster.url.replace("://", f"://neverstale:{PASSWORD}@")

    async def allow(node: ClusterNode, *words: str) -> None:
        user = ("ACL", "SETUSER", "neverstale", "reset", "on", f">{PASSWORD}")
        await command(node, *user, *words)

    node, *others = cluster.primaries
    for one in cluster.primaries:
        await allow(one, *rights)
    assert await found(cluster, url) == {}, "as documented"
    for lacking in CLUSTER_RIGHTS:
        await allow(node, *(word for word in rights if word != lacking))
        told = await found(cluster, url)
        assert f"{address(node)}: " in told.pop("redis.rights")
        assert told == {}, lacking
    channels = [word for word in rights if word != "&*"]
    await allow(node, *channels, "&neverstale:*")
    told = await found(cluster, url)
    assert "spublish, ssubscribe" in told["redis.rights"]
    for one in cluster.primaries:
        await allow(one, *(word for word in rights if word != "+cluster|slots"))
    told = await found(cluster, url)
    assert "cluster|slots" in told["redis.rights"], "no node shows the cluster"
    for one in others:
        await allow(one, *rights)
    await command(node, "ACL", "DELUSER", "neverstale")
    assert set(await found(cluster, url)) == {"redis.cluster_node"}
    for one in others:
        await command(one, "ACL", "DELUSER", "neverstale")


async def test_slots_that_nobody_serves_are_a_finding(cluster: RedisCluster) -> None:
    slot = slot_of(RedisNames(is_cluster=True).state)
    free = 0 if slot else 1
    owner = await cluster.owner(free)
    for node in cluster.primaries:
        await command(node, "CLUSTER", "DELSLOTS", free)
    told = await found(cluster)
    await command(owner, "CLUSTER", "ADDSLOTS", free)
    assert "1 slots" in told["redis.cluster_slots"]


async def test_a_setting_that_does_not_fit_the_server_is_a_finding(
    cluster: RedisCluster, tmp_path: Path
) -> None:
    node = cluster.primaries[0]
    [finding] = (await report(node.url)).findings
    assert (finding.id, finding.todo) == ("redis.cluster", "set REDIS_CLUSTER=true")
    single = ValkeyServer(tmp_path / "valkey")
    await asyncio.to_thread(single.start)
    try:
        told = await found(cluster, single.url)
        assert list(told) == ["redis.cluster"]
        assert "a single server" in told["redis.cluster"]
    finally:
        single.kill()
    assert list(await found(cluster, single.url)) == ["redis.unreachable"]


async def test_what_is_wrong_with_sentinels_is_a_finding(tmp_path: Path) -> None:
    # sentinels of one primary would find each other
    primary, other, third = (ValkeyServer(tmp_path / name) for name in "abc")
    alone = Sentinel(tmp_path / "alone", primary)
    needs_two = Sentinel(tmp_path / "two", third, quorum=2)
    elsewhere = Sentinel(tmp_path / "elsewhere", other)
    servers = (primary, other, third, alone, needs_two, elsewhere)
    try:
        await asyncio.gather(*(asyncio.to_thread(server.start) for server in servers[:3]))
        await asyncio.gather(*(asyncio.to_thread(server.start) for server in servers[3:]))

        async def told(name: str, *sentinels: int) -> set[str]:
            hosts = ",".join(f"127.0.0.1:{port}" for port in sentinels)
            made = await report(f"redis+sentinel://{hosts}/{name}")
            return {one.id for one in made.findings}

        assert await told("main", alone.port) == set()
        assert await told("odd", alone.port) == {"redis.sentinel_name"}
        assert await told("main", free_port(), alone.port) == {"redis.sentinel"}
        assert await told("main", free_port()) == {"redis.unreachable"}
        assert await told("main", needs_two.port) == {"redis.quorum"}
        assert await told("main", alone.port, elsewhere.port) == {"redis.sentinels_differ"}
    finally:
        for server in servers:
            server.kill()


async def test_the_probe_and_the_status_reach_each_node_that_is_up(
    cluster: RedisCluster, servers: Servers
) -> None:
    async with make_world(servers) as world:
        world.more |= {"REDIS_URL": cluster.url, "REDIS_CLUSTER": "true", "ADMIN_KEY": KEY}
        await world.listener()
        gateway = await world.gateway()
        bearer = token(world.ada, exp=int(time.time()) + 600)
        targets = Targets([gateway.url], (), bearer, world.apollo, sends_probe=True)
        made = await report(cluster.url, targets, **world.environment())
        assert [one.id for one in made.findings] == [NO_REPLICA]
        assert made.checked["probe"]["published_ms"] > 0
        nodes = await until(world, gateway, lambda nodes: all(map(is_linked, nodes.values())))
        assert sum(one["slots"] for one in nodes.values()) == SLOT_COUNT
        assert set(nodes) == {address(node) for node in cluster.primaries}
        for one in nodes.values():
            assert one["used_memory_bytes"] > 0
            assert one["replicas"] == 0
        dead = (await Placement(world, cluster).other_nodes())[0]
        dead.kill()
        await until(
            world,
            gateway,
            lambda nodes: (
                is_lost(nodes.pop(address(dead))) and all(map(is_linked, nodes.values()))
            ),
        )
        told = await found(cluster)
        assert address(dead) in told["redis.cluster_node"]
        status = await read_from_redis(cluster.url, world.prefix, is_cluster=True)
        [one] = [one for one in status["redis_nodes"] if one["address"] == address(dead)]
        assert not one["up"]


def is_linked(node: dict[str, Any]) -> bool:
    return (node["up"], node["leader"], node["gateways"]) == (True, True, 1)


def is_lost(node: dict[str, Any]) -> bool:
    return (node["up"], node["leader"], node["gateways"]) == (False, False, 0)


async def until(
    world: World, gateway: Part, wanted: Callable[[dict[str, Any]], bool]
) -> dict[str, Any]:
    """Return the Redis nodes of the status by their addresses, once they are as wanted."""
    headers = {"Authorization": f"Bearer {KEY}"}
    async with asyncio.timeout(HANG_SECONDS):
        while True:
            async with world.http.get(f"{gateway.url}{STATUS_PATH}", headers=headers) as answer:
                status = await answer.json()
            nodes = {one["address"]: one for one in status.get("redis_nodes", ())}
            if len(nodes) == 3 and status["gateways"] and wanted(nodes):
                return nodes
            await asyncio.sleep(0.1)

"""Each alert of ``deploy/monitoring`` is fired once, by its fault on a real stack (about three
minutes).
"""

import asyncio
import shutil
import signal
import socket
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import asyncpg
import pytest
import yaml

from tests.support.database import Database
from tests.support.handshakes import handshake
from tests.support.key_server import KeyServer, key_server
from tests.support.processes import WS_PATH, Part
from tests.support.prometheus import FIRING_SECONDS, RULES, Prometheus, running_prometheus
from tests.support.servers import Servers, start_again
from tests.support.world import World, make_world

__all__ = ["key_server"]

LATE_SECONDS: Final = 3
QUEUE_PAGES: Final = 64  # the fewest that PostgreSQL 17 allows


@dataclass
class Scene:
    """A stack in which all is well, until one of the faults is made."""

    world: World
    keys: KeyServer
    leader: Part
    standby: Part
    gateway: Part
    ending: AsyncExitStack
    listening: "Database | None" = None
    deaf: socket.socket | None = None

    async def long_transactions(self) -> None:
        async with self.world.database.transaction():
            await self.world.database.execute(
                "select neverstale.notify('task', 'UPDATE', $1, 'late')", self.world.apollo
            )
            await asyncio.sleep(LATE_SECONDS)

    async def foreign_messages(self) -> None:
        channel = f"{self.world.prefix}project:{self.world.apollo}"
        async with self.world.redis() as redis:
            await redis.publish(channel, b"not ours")

    async def bad_tokens(self) -> None:
        url = f"{self.gateway.url}{WS_PATH}?project_id={self.world.apollo}"
        with suppress(aiohttp.WSServerHandshakeError):
            await self.world.http.ws_connect(url, headers={"Authorization": "Bearer x"})

    async def unreadable_keys(self) -> None:
        self.keys.status = 500

    async def too_little_cpu(self) -> None:
        assert self.gateway.process is not None
        self.gateway.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(0.6)  # it stands still for so long
        self.gateway.process.send_signal(signal.SIGCONT)

    async def client_that_does_not_read(self) -> None:
        if self.deaf is None:
            self.deaf = self.ending.enter_context(socket.socket())
            self.deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            self.deaf.connect(("127.0.0.1", self.gateway.port))
            self.deaf.sendall(handshake())
        await self.world.database.execute(
            "select neverstale.notify('task', 'UPDATE', $1, n::text)"
            " from generate_series(1, 900) as n",
            self.world.apollo,
        )

    async def truncated_tables(self) -> None:
        await self.world.database.execute("truncate messages")
        await asyncio.sleep(1.0)  # there is one reset a second at most

    async def killed_subscriber_connections(self) -> None:
        async with self.world.redis() as redis:
            await redis.client_kill_filter(_type="pubsub")

    async def frozen_redis(self) -> None:
        self.world.servers.valkey.freeze()

    async def session_that_listens_and_does_not_read(self) -> None:
        if self.listening is None:
            self.listening = await asyncpg.connect(self.world.database_url)
            self.ending.callback(self.listening.terminate)
            await self.listening.execute("listen elsewhere")
            await self.listening.execute("begin; select 1")
        await self.world.database.execute(
            "select pg_notify('elsewhere', repeat('x', 7900) || clock_timestamp()::text)"
            " where pg_notification_queue_usage() < 0.7"
        )

    async def small_log(self) -> None:
        await self.world.command("listener", "install", LOG_MAX_BYTES=str(2**20))

    async def disabled_triggers(self) -> None:
        await self.world.database.execute("alter table tasks disable trigger user")

    async def renamed_table(self) -> None:
        await self.world.database.execute("alter table if exists project_members rename to p")
        url = f"{self.gateway.url}{WS_PATH}?project_id={self.world.gemini}"
        with suppress(aiohttp.WSServerHandshakeError):
            async with self.world.client(self.gateway, self.world.gemini, self.world.grace):
                raise AssertionError(url)

    async def killed_standby(self) -> None:
        await self.standby.end(signal.SIGKILL)

    async def killed_leader(self) -> None:
        await self.leader.end(signal.SIGKILL)


Fault = Callable[[Scene], Coroutine[Any, Any, None]]
FAULTS: Final[tuple[tuple[Fault, tuple[str, ...]], ...]] = (
    (Scene.long_transactions, ("NeverstaleLate",)),
    (Scene.foreign_messages, ("NeverstaleForeignWrites",)),
    (Scene.bad_tokens, ("NeverstaleSocketsRefused",)),
    (Scene.unreadable_keys, ("NeverstaleKeysUnreadable",)),
    (Scene.too_little_cpu, ("NeverstaleEventLoopBlocked",)),
    (Scene.truncated_tables, ("NeverstaleEveryClientReset",)),
    (Scene.killed_subscriber_connections, ("NeverstaleRedisUnstable",)),
    (
        Scene.session_that_listens_and_does_not_read,
        ("NeverstaleNotificationQueueFilling",),
    ),
    (Scene.client_that_does_not_read, ("NeverstaleSlowClients",)),
    (Scene.small_log, ("NeverstaleChangeLogFilling",)),
    (Scene.frozen_redis, ("NeverstaleRedisAway", "NeverstaleNotLive")),
    (Scene.disabled_triggers, ("NeverstaleCaptureDiffers",)),
    (Scene.renamed_table, ("NeverstaleAccessChecksFail",)),
    (Scene.killed_standby, ("NeverstaleNoStandby", "NeverstaleProcessDown")),
    (Scene.killed_leader, ("NeverstaleNoLeader",)),
)


def test_each_alert_has_a_fault() -> None:
    [group] = yaml.safe_load(RULES.read_text())["groups"]
    fired = {name for _, names in FAULTS for name in names}
    assert fired == {rule["alert"] for rule in group["rules"]}


async def _fire(scene: Scene, prometheus: Prometheus, fault: Fault, *names: str) -> None:
    """Make the fault, again and again, until its alerts fire; none of them did before."""
    assert not set(names) & await prometheus.firing(), "without its fault"
    waiting = asyncio.create_task(prometheus.until_firing(*names))
    async with asyncio.timeout(FIRING_SECONDS + LATE_SECONDS):
        while not waiting.done():
            await fault(scene)
            await asyncio.wait([waiting], timeout=0.2)
        await waiting


async def _make_scene(world: World, keys: KeyServer, ending: AsyncExitStack) -> Scene:
    leader = await world.listener()
    standby = await world.listener(role="standby")
    gateway = await world.gateway(SLOW_CLIENT_SECONDS="300", MAX_FAILED_AUTHENTICATIONS="0")
    await world.gateway(JWT_SECRET="", JWT_JWKS_URL=keys.url, JWT_JWKS_REFRESH_SECONDS="1")
    await ending.enter_async_context(world.client(gateway, world.apollo, world.ada, v1=True))
    return Scene(world, keys, leader, standby, gateway, ending)


async def test_each_alert_is_fired_by_its_fault(
    own_servers: Servers, key_server: KeyServer
) -> None:
    if shutil.which("prometheus") is None:
        pytest.skip("Prometheus is not installed")
    admin = await asyncpg.connect(own_servers.postgres.url)
    await admin.execute(f"alter system set max_notify_queue_pages = {QUEUE_PAGES}")
    await admin.close()
    own_servers.postgres.stop()
    await start_again(own_servers.postgres)
    async with make_world(own_servers) as world, AsyncExitStack() as ending:
        scene = await _make_scene(world, key_server, ending)
        gateways = [part.port for part in world.parts if part.module == "gateway"]
        jobs = {
            "neverstale-listener": [scene.leader.port, scene.standby.port],
            "neverstale-gateway": gateways,
        }
        async with running_prometheus(world.http, jobs) as prometheus:
            await prometheus.until_scraped(4)
            for fault, names in FAULTS:
                await _fire(scene, prometheus, fault, *names)
                print(f"{', '.join(names)}: fired by {fault.__name__}")
                own_servers.valkey.thaw()

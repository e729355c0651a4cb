"""PostgreSQL fails over to a standby, or an address leads to a standby not yet promoted."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg

from deploy.dev.servers import PostgresServer
from tests.support.changes import (
    assert_consistent_after,
    assert_flows,
    change,
    insert_tasks,
    is_reset,
)
from tests.support.processes import HANG_SECONDS, connected, eventually
from tests.support.tcp_proxy import Proxy
from tests.support.world import World


@dataclass
class Pair:
    """A primary with a standby, and an address each for the listener and the gateway."""

    world: World
    primary: PostgresServer
    standby: PostgresServer
    of_listener: Proxy
    of_gateway: Proxy

    def url(self, server: PostgresServer | Proxy) -> str:
        name = self.world.database_url.rpartition("/")[2]
        return f"postgresql://postgres@127.0.0.1:{server.port}/{name}"

    async def promote(self) -> None:
        """Kill the primary and promote the standby. The addresses do not change."""
        await asyncio.to_thread(self.primary.kill)
        database = await asyncpg.connect(self.url(self.standby))
        assert await database.fetchval("select pg_promote()")
        self.world.database.terminate()
        self.world.database = database

    def move(self, address: Proxy, server: PostgresServer) -> None:
        """Point an address to another server and cut its connections."""
        address.target_ports = [server.port]
        address.cut()

    async def caught_up(self) -> None:
        """Return when the standby has replayed the primary's current WAL."""
        place = await self.world.database.fetchval("select pg_current_wal_lsn()")
        database = await asyncpg.connect(self.url(self.standby))
        async with asyncio.timeout(HANG_SECONDS):
            while not await database.fetchval("select pg_last_wal_replay_lsn() >= $1", place):
                await asyncio.sleep(0.02)
        await database.close()


@asynccontextmanager
async def postgres_pair(world: World) -> AsyncIterator[Pair]:
    primary = world.servers.postgres
    standby = await asyncio.to_thread(
        primary.make_standby, primary.folder.with_name("postgres2")
    )
    await asyncio.to_thread(standby.start)
    try:
        of_listener = Proxy(primary.port)
        of_gateway = Proxy(primary.port)
        for address in (of_listener, of_gateway):
            await address.start()
        try:
            yield Pair(world, primary, standby, of_listener, of_gateway)
        finally:
            for address in (of_listener, of_gateway):
                await address.close()
    finally:
        standby.kill()


async def test_a_promoted_standby_is_one_reset(own_world: World) -> None:
    """It has another timeline and an empty log, and the last commits may be lost."""
    world = own_world
    async with postgres_pair(world) as pair:
        listener = await world.listener(DATABASE_URL=pair.url(pair.of_listener))
        standby = await world.listener(role="standby", DATABASE_URL=pair.url(pair.of_listener))
        gateway = await world.gateway(DATABASE_URL=pair.url(pair.of_gateway))
        async with (
            world.client(gateway, world.apollo, world.ada) as plain,
            world.client(gateway, world.apollo, world.ada, v1=True) as v1,
        ):
            await change(world)
            for client in (plain, v1):
                await client.next()
            await pair.caught_up()
            await pair.promote()
            for address in (pair.of_listener, pair.of_gateway):
                pair.move(address, pair.standby)
            changed = await insert_tasks(world, 5)
            for client in (plain, v1):
                frames = await assert_consistent_after(client, changed)
                assert any(map(is_reset, frames))
                await assert_flows(world, client)
        timelines = "select timeline_id from pg_control_checkpoint()"
        await world.database.execute("checkpoint")
        assert await world.database.fetchval(timelines) == 2
        lines = listener.lines + standby.lines
        told = [line["reason"] for line in lines if line["message"] == "reset"]
        assert sorted(told) == ["gap", "log_lost"]


async def test_a_standby_is_not_used_for_access_checks_until_it_is_promoted(
    own_world: World,
) -> None:
    """It may still show access that was lost since, and it does not support LISTEN."""
    world = own_world
    async with postgres_pair(world) as pair:
        listener = await world.listener(DATABASE_URL=pair.url(pair.of_listener))
        gateway = await world.gateway(DATABASE_URL=pair.url(pair.of_gateway))
        async with connected(world.http, gateway, world.apollo, world.grace, v1=True) as client:
            assert (await client.next())["type"] == "connected"
            await pair.caught_up()
            paused = await asyncpg.connect(pair.url(pair.standby))
            await paused.execute("select pg_wal_replay_pause()")
            pair.move(pair.of_gateway, pair.standby)
            await world.database.execute(
                "delete from project_members where user_id = $1", world.grace
            )
            assert await client.closed() == 1013, "whether she may hear can't be asked"
            for user in (world.grace, world.ada):
                async with connected(
                    world.http, gateway, world.apollo, user, v1=True
                ) as refused:
                    assert (await refused.next())["code"] == "unavailable"
            await gateway.ready(world.http, degraded=["database"])
            await paused.execute("select pg_wal_replay_resume()")
            await paused.close()
        # the listener's address points there, too
        pair.move(pair.of_listener, pair.standby)
        await listener.ready(world.http, status=503, role="connecting")
        said = "ReadOnlySQLTransactionError: cannot execute LISTEN during recovery"
        await eventually(
            lambda: listener.logged("postgresql lost", reason=said), "it says what is there"
        )
        await pair.promote()
        await listener.ready(world.http, role="leader")
        async with world.client(gateway, world.apollo, world.ada) as client:
            await assert_flows(world, client)
        await gateway.ready(world.http, degraded=[])

"""A PostgreSQL that refuses connections for a while, or is read-only by default."""

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import asyncpg

from tests.support.changes import assert_consistent_after, assert_flows, insert_tasks
from tests.support.processes import Part, connected, eventually
from tests.support.world import World

ROLE = "neverstale_changing"
CUT = """\
select pg_terminate_backend(pid) from pg_stat_activity
 where application_name like 'neverstale %'"""


@asynccontextmanager
async def no_connection_for(world: World, listener: Part) -> AsyncIterator[None]:
    """Take all available connections before the listener can reconnect."""
    async with AsyncExitStack() as taken:
        while await role_of(world, listener) != "connecting":
            await world.database.execute(CUT)
            with suppress(asyncpg.TooManyConnectionsError):
                while True:
                    connection = await asyncpg.connect(world.database_url)
                    taken.push_async_callback(connection.close)
        yield


async def role_of(world: World, listener: Part) -> str:
    async with world.http.get(f"{listener.url}/readyz") as response:
        return str((await response.json())["role"])


async def test_no_connections_are_left(own_world: World) -> None:
    """Open ones are kept; a gateway without one waits, refuses new clients and reports it."""
    world = own_world
    world.servers.postgres.stop()
    world.servers.postgres.max_connections = 15
    world.servers.postgres.start()
    await world.reconnect_database()
    listener = await world.listener()
    gateway = await world.gateway()
    async with world.client(gateway, world.apollo, world.ada) as client:
        async with no_connection_for(world, listener):
            changed = await insert_tasks(world, 3)
            async with connected(
                world.http, gateway, world.apollo, world.grace, v1=True
            ) as refused:
                assert (await refused.next())["code"] == "unavailable"
                assert await refused.closed() == 1013
            await gateway.ready(world.http, degraded=["listener", "database"])
            await listener.ready(world.http, status=503, role="connecting")
        await listener.ready(world.http, role="leader")
        await assert_consistent_after(client, changed)
        await assert_flows(world, client)
        async with world.client(gateway, world.apollo, world.ada):
            await gateway.ready(world.http, degraded=[])
    said = "TooManyConnectionsError"
    assert any(said in line.get("reason", "") for line in listener.lines), "it says why"


async def test_a_password_is_changed_while_running(own_world: World, tmp_path: Path) -> None:
    """A listener that was connected once waits until it can connect again: here with the new
    password in the file that ``passfile`` names.
    """
    world, postgres = own_world, own_world.servers.postgres
    await world.database.execute(f"create role {ROLE} superuser login password 'aged-secret'")
    rules = postgres.folder / "pg_hba.conf"
    trusting = rules.read_text()
    rules.write_text(f"host all {ROLE} 127.0.0.1/32 scram-sha-256\n{trusting}")
    await world.database.execute("select pg_reload_conf()")
    passwords = tmp_path / "passwords"

    def write_password(password: str) -> None:
        passwords.write_text(f"127.0.0.1:*:*:{ROLE}:{password}\n")
        os.chmod(passwords, 0o600)

    write_password("aged-secret")
    url = world.database_url.replace("postgres@", f"{ROLE}@")
    world.more["DATABASE_URL"] = f"{url}?passfile={passwords}"
    listener = await world.listener()
    gateway = await world.gateway()
    async with world.client(gateway, world.apollo, world.ada) as client:
        await world.database.execute(f"alter role {ROLE} password 'fresh-secret'")
        await assert_flows(world, client)
        await world.database.execute(CUT)
        await listener.ready(world.http, status=503, role="connecting")
        await eventually(
            lambda: any(
                "password authentication failed" in line for line in listener.raw_lines
            ),
            "it says why",
        )
        async with connected(
            world.http, gateway, world.apollo, world.grace, v1=True
        ) as refused:
            assert (await refused.next())["code"] == "unavailable"
        changed = await insert_tasks(world, 3)
        write_password("fresh-secret")
        await listener.ready(world.http, role="leader")
        await assert_consistent_after(client, changed)
        async with world.client(gateway, world.apollo, world.ada) as newcomer:
            await assert_flows(world, newcomer)
    assert "-secret" not in "".join(listener.raw_lines + gateway.raw_lines)


async def test_a_database_that_is_read_only_by_default_is_still_followed(
    own_world: World,
) -> None:
    """Some hosting services set this when a disk is nearly full; sessions may override it."""
    world = own_world
    listener = await world.listener()
    gateway = await world.gateway()
    name = world.database_url.rpartition("/")[2]
    async with world.client(gateway, world.apollo, world.ada) as client:
        await world.database.execute(
            f"alter database {name} set default_transaction_read_only = on"
        )
        await world.database.execute(CUT)
        await assert_flows(world, client)
        await listener.ready(world.http, role="leader")
        async with world.client(gateway, world.apollo, world.ada):
            pass
    assert not any("read-only" in line for line in listener.raw_lines)

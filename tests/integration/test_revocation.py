"""Whoever loses a project hears no more of it, on any gateway, whatever is going on."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.integration.conftest import World
from tests.integration.processes import Part, connected
from tests.integration.test_failover import assert_flows
from tests.integration.test_resume import change, rows, v1


@pytest.fixture
async def gateway(world: World) -> Part:
    await world.listener()
    return await world.gateway()


async def recheck(world: World, project_id: str | None, user_id: str | None) -> None:
    message = {"type": "recheck", "project_id": project_id, "user_id": user_id}
    async with world.redis() as redis:
        await redis.publish(f"{world.prefix}neverstale:recheck", json.dumps(message))


@asynccontextmanager
async def quietly(world: World) -> AsyncIterator[None]:
    """Changes of access that no trigger sees."""
    await world.database.execute("set session_replication_role = replica")
    await world.database.execute("alter table project_members disable trigger user")
    await world.database.execute("alter table projects disable trigger user")
    yield
    await world.database.execute("alter table project_members enable trigger user")
    await world.database.execute("alter table projects enable trigger user")


async def give_away(world: World, project_id: str) -> None:
    """Make it nobody's: its owner another, its members gone; no trigger tells of it."""
    async with quietly(world):
        await world.database.execute(
            "delete from project_members where project_id = $1", project_id
        )
        await world.database.execute(
            "update projects set owner_id = gen_random_uuid() where id = $1", project_id
        )


async def test_a_plain_client_and_one_with_one_project_are_closed(
    world: World, gateway: Part
) -> None:
    async with (
        connected(world.http, gateway, world.apollo, world.ada) as plain,
        v1(world, gateway, world.apollo) as one,
    ):
        await plain.next()
        await one.next()
        await recheck(world, world.apollo, world.ada)
        await assert_flows(world, plain)
        await give_away(world, world.apollo)
        await recheck(world, world.apollo, None)
        assert set(await asyncio.gather(plain.closed(), one.closed())) == {4403}


async def test_a_socket_with_other_projects_keeps_them(world: World, gateway: Part) -> None:
    await world.database.execute(
        "insert into project_members (project_id, user_id) values ($1, $2)",
        world.gemini,
        world.ada,
    )
    async with v1(world, gateway, world.apollo) as client:
        await client.next()
        await client.socket.send_json({"type": "subscribe", "project_id": world.gemini})
        await client.until(lambda frame: frame["type"] == "subscribed")
        await give_away(world, world.apollo)
        await recheck(world, None, world.ada)
        assert await client.next() == {
            "type": "unsubscribed",
            "project_id": world.apollo,
            "reason": "revoked",
        }
        await change(world, "a")
        await change(world, "b", project_id=world.gemini)
        assert await rows(client, "b") == ["b"]
        await client.socket.send_json({"type": "subscribe", "project_id": world.apollo})
        assert (await client.next())["code"] == "forbidden"


async def test_what_is_committed_while_access_is_asked_is_told_after_a_yes(
    world: World, gateway: Part
) -> None:
    async with v1(world, gateway, world.apollo) as client:
        await client.next()
        async with world.database.transaction():
            # the question must wait for this lock
            await world.database.execute("lock table projects in access exclusive mode")
            await recheck(world, world.apollo, world.ada)
            await change(world, "a")
        assert await rows(client, "a") == ["a"]


async def test_a_revocation_in_a_gap_of_redis_is_not_lost(world: World, gateway: Part) -> None:
    async with v1(world, gateway, world.apollo) as client, world.redis() as redis:
        await client.next()
        await give_away(world, world.apollo)
        await redis.client_kill_filter(_type="pubsub")
        assert await client.closed() == 4403


async def test_a_revocation_before_a_reset_is_not_lost(world: World, gateway: Part) -> None:
    async with v1(world, gateway, world.apollo) as client:
        await client.next()
        await give_away(world, world.apollo)
        await world.database.execute("set session_replication_role = origin")
        await world.database.execute("truncate messages")
        assert await client.closed() == 4403
        assert not any("project:" in raw for raw in client.raw[1:])


async def test_what_cannot_be_asked_for_too_long_is_closed_for_now(own_world: World) -> None:
    world = own_world
    await world.listener()
    gateway = await world.gateway()
    async with v1(world, gateway, world.apollo) as client:
        await client.next()
        world.servers.postgres.stop()
        await recheck(world, world.apollo, world.ada)
        assert await client.closed() == 1013
        world.servers.postgres.start()


async def test_many_questions_are_one_query(world: World, gateway: Part) -> None:
    async def one() -> None:
        async with v1(world, gateway, world.apollo) as client:
            await client.next()

    await asyncio.gather(*(one() for _ in range(40)))
    async with world.http.get(f"{gateway.url}/metrics") as response:
        told = await response.text()
    [line] = [
        ln for ln in told.splitlines() if ln.startswith("neverstale_access_queries_total ")
    ]
    assert float(line.split()[1]) < 20

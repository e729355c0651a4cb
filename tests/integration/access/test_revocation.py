"""Whoever loses a project hears no more of it, on any gateway, whatever is going on."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.support.changes import assert_flows
from tests.support.processes import Client, Part, connected
from tests.support.v1_client import notify, rows, v1
from tests.support.world import World


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


async def let_in(world: World) -> None:
    """Ada hears of Gemini, too."""
    await world.database.execute(
        "insert into project_members (project_id, user_id) values ($1, $2)",
        world.gemini,
        world.ada,
    )


async def test_a_socket_with_other_projects_keeps_them(world: World, gateway: Part) -> None:
    await let_in(world)
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
        await notify(world, "a")
        await notify(world, "b", project_id=world.gemini)
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
            await notify(world, "a")
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


async def test_a_project_in_doubt_all_the_time_is_told_even_so(
    world: World, gateway: Part
) -> None:
    """Each answer comes too late: something happened since it was asked."""
    await let_in(world)
    async with v1(world, gateway, world.gemini) as client:
        await client.next()
        await world.database.execute(
            "alter table project_members rename to members;"
            "create view project_members as"
            " select members.* from members, lateral (select pg_sleep(0.1)) as slow"
        )

        in_doubt, is_over = asyncio.Event(), asyncio.Event()

        async def doubt() -> None:
            while not is_over.is_set():  # cancelled, it could leave a connection half open
                await recheck(world, world.gemini, None)
                in_doubt.set()
                await asyncio.sleep(0.01)

        doubting = asyncio.create_task(doubt())
        try:
            await in_doubt.wait()
            await notify(world, "a", project_id=world.gemini)
            frames = await client.until(lambda frame: frame.get("data", {}).get("id") == "a")
            # a view in the place of a watched table is a break of capture: live:false
            assert {frame["type"] for frame in frames[:-1]} <= {"status"}
            await world.database.execute("delete from members")
            # The recheck that sees this may come before its event.
            assert await client.closed() == 4403
        finally:
            is_over.set()
            await doubting


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


async def test_a_removed_member_is_told_of_it_and_then_hears_no_more(world: World) -> None:
    await world.listener()
    gateways = [await world.gateway(), await world.gateway()]
    await join_gemini(world, world.ada)
    async with (
        v1(world, gateways[0], world.gemini) as v1_client,
        connected(world.http, gateways[1], world.gemini, world.ada) as plain,
        connected(world.http, gateways[1], world.gemini, world.grace) as owner,
    ):
        for client in (v1_client, plain, owner):
            await client.next()
        async with world.database.transaction():
            await world.database.execute(
                "delete from project_members where project_id = $1 and user_id = $2",
                world.gemini,
                world.ada,
            )
            await notify(world, "secret", project_id=world.gemini)
        for client in (v1_client, plain):
            frame = await client.next()
            assert (frame["resource"], frame["action"]) == ("project_members", "DELETE")
            assert frame["channel"] == f"user:{world.ada}"
            assert await client.closed() == 4403
            assert not any("secret" in raw for raw in client.raw)
        told = {(await owner.next())["data"]["id"] for _ in range(2)}
        assert told == {"secret", f"{world.gemini}:{world.ada}"}


async def join_gemini(world: World, *users: str) -> None:
    await world.database.executemany(
        "insert into project_members (project_id, user_id) values ($1, $2)",
        [(world.gemini, user) for user in users],
    )


async def test_a_new_member_hears_of_it_wherever_they_are_and_may_come_in(
    world: World, gateway: Part
) -> None:
    async with (
        v1(world, gateway) as v1_client,
        connected(world.http, gateway, world.apollo, world.ada) as plain,
        connected(world.http, gateway, world.apollo, world.grace) as stranger,
    ):
        for client in (v1_client, plain, stranger):
            await client.next()
        await v1_client.socket.send_json({"type": "subscribe", "project_id": world.gemini})
        assert (await v1_client.next())["code"] == "forbidden"
        await join_gemini(world, world.ada)
        for client in (v1_client, plain):
            frame = await client.next()
            assert (frame["action"], frame["project_id"]) == ("INSERT", world.gemini)
        frame = await plain.next()
        assert frame["data"] == {"reason": "access_changed"}
        assert frame["project_id"] == world.gemini
        await v1_client.socket.send_json({"type": "subscribe", "project_id": world.gemini})
        assert (await v1_client.next())["type"] == "subscribed"
        await notify(world, "mark")
        assert await rows(stranger, "mark") == ["mark"]


async def test_a_changed_owner_loses_the_project(world: World, gateway: Part) -> None:
    async with (
        v1(world, gateway, world.apollo) as old,
        connected(world.http, gateway, world.gemini, world.grace) as new,
    ):
        await old.next()
        await new.next()
        await world.database.execute(
            "update projects set owner_id = $1 where id = $2", world.grace, world.apollo
        )
        frame = await old.next()
        assert (frame["resource"], frame["action"]) == ("project", "DELETE")
        assert await old.closed() == 4403
        frame = await new.next()
        assert (frame["resource"], frame["action"]) == ("project", "INSERT")


async def test_a_bulk_removal_ends_each_of_500(world: World, gateway: Part) -> None:
    users = [f"00000000-0000-4000-8000-{number:012d}" for number in range(500)]
    await world.database.executemany(
        "insert into users (id, name) values ($1, 'x')", [(user,) for user in users]
    )
    await join_gemini(world, *users)
    async with connected(world.http, gateway, world.gemini, users[0]) as first:
        clients = [first]
        async with asyncio.TaskGroup() as tasks:
            for user in users[1:40]:
                tasks.create_task(serve(world, gateway, user, clients))
            while len(clients) < 40 or not all(client.raw for client in clients[1:]):
                await asyncio.sleep(0.01)
            await first.next()
            await world.database.execute(
                "delete from project_members where project_id = $1", world.gemini
            )
            assert await first.closed() == 4403


async def serve(world: World, gateway: Part, user: str, clients: list[Client]) -> None:
    """A client that must be closed in the end."""
    async with connected(world.http, gateway, world.gemini, user) as client:
        clients.append(client)
        await client.next()
        assert await client.closed() == 4403

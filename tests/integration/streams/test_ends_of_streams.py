"""How a stream of server-sent events ends: its last event has the close code."""

import asyncio
import signal
import time

import pytest

from gateway.http.admin_api import DISCONNECT_PATH
from tests.integration.http.connections import connected, request
from tests.support.inspection import connections
from tests.support.processes import HANG_SECONDS, Part, token
from tests.support.stream_client import SSE_PATH, streaming
from tests.support.v1_client import notify, rows
from tests.support.world import World

ADMIN_KEY = "a key for tests that is long enough"


@pytest.fixture
async def gateway(world: World) -> Part:
    await world.listener()
    return await world.gateway(
        JWT_LEEWAY_SECONDS="0", ADMIN_KEY=ADMIN_KEY, SLOW_CLIENT_SECONDS="1"
    )


async def leave(world: World, project_id: str) -> None:
    """Ada loses the project."""
    await world.database.execute(
        "delete from project_members where project_id = $1 and user_id = $2",
        project_id,
        world.ada,
    )
    await world.database.execute(
        "update projects set owner_id = $2 where id = $1", project_id, world.grace
    )


async def test_the_loss_of_a_project(world: World, gateway: Part) -> None:
    await world.database.execute(
        "insert into project_members (project_id, user_id) values ($1, $2)",
        world.gemini,
        world.ada,
    )
    async with (
        streaming(world, gateway, world.apollo) as one,
        streaming(world, gateway, world.apollo, world.gemini) as both,
    ):
        await one.next()
        await both.next()
        await leave(world, world.apollo)
        assert await one.closed() == 4403
        frames = await both.until(lambda frame: frame["type"] == "unsubscribed")
        assert frames[-1]["project_id"] == world.apollo
        assert f"project:{world.apollo}." not in both.last_id
        await notify(world, "kept", project_id=world.gemini)
        assert (await both.until(lambda f: f.get("data", {}).get("id") == "kept"))[-1]


async def test_the_end_of_its_token_of_which_it_is_warned(world: World, gateway: Part) -> None:
    exp = int(time.time() + 2)
    bearer = token(world.ada, exp=exp)
    async with streaming(world, gateway, world.apollo, bearer=bearer) as stream:
        await stream.next()
        assert (await stream.next())["type"] == "token_expiring"
        assert (await stream.next())["code"] == "token_expired"
        assert await stream.closed() == 4401
        assert time.time() >= exp


async def test_the_end_of_its_users_session(world: World, gateway: Part) -> None:
    async with streaming(world, gateway, world.apollo) as stream:
        await stream.next()
        async with world.http.post(
            gateway.url + DISCONNECT_PATH,
            headers={"Authorization": f"Bearer {ADMIN_KEY}"},
            json={"user_id": world.ada},
        ) as response:
            assert response.status == 200
        assert await stream.closed() == 4401


async def test_a_drain_from_which_it_resumes_elsewhere(world: World, gateway: Part) -> None:
    other = await world.gateway()
    async with streaming(world, gateway, world.apollo) as stream:
        await stream.next()
        ending = asyncio.ensure_future(gateway.end(signal.SIGTERM))
        assert await stream.closed() == 1012
        assert await ending == 0
    await notify(world, "one")
    async with streaming(world, other, world.apollo, last_id=stream.last_id) as stream:
        assert len((await stream.next())["resumed"]) == 2
        assert await rows(stream, "one") == ["one"]


async def test_a_client_that_reads_too_slowly(world: World, gateway: Part) -> None:
    """It is caught up once it reads; one that does not is closed."""
    bearer = f"Authorization: Bearer {token(world.ada)}"
    head = request("GET", f"{SSE_PATH}?project_id={world.apollo}", bearer)
    async with (
        connected(gateway.port) as (reader, writer),
        streaming(world, gateway, world.apollo) as quick,
    ):
        writer.write(head)
        async with asyncio.timeout(HANG_SECONDS):
            await reader.readuntil(b'"connected"')
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await quick.next()
        for batch in range(8):  # each is less than makes a reset
            rows_of_batch = [f"{'x' * 490}{batch}.{number}" for number in range(300)]
            await world.database.execute(
                """
                select neverstale.notify('task', 'UPDATE', $1, name)
                from unnest($2::text[]) name
                """,
                world.apollo,
                rows_of_batch,
            )
            await rows(quick, rows_of_batch[-1])
        async with asyncio.timeout(HANG_SECONDS):
            while await connections(world, gateway) != 1:
                await asyncio.sleep(0.05)
        await notify(world, "after")
        assert await rows(quick, "after") == ["after"]

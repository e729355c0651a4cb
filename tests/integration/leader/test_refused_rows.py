"""What can't be published or read as it is costs a reset of as few as is certain."""

import asyncio
import json

from tests.support.changes import assert_flows, is_reset
from tests.support.demo_data import TASK
from tests.support.inspection import metric, peak_bytes, state, until_state
from tests.support.processes import HANG_SECONDS
from tests.support.subscriber import subscribed
from tests.support.world import World


async def test_a_foreign_value_under_a_channels_key_resets_that_channel_alone(
    world: World,
) -> None:
    listener = await world.listener()
    gateway = await world.gateway()
    async with (
        world.client(gateway, world.apollo, world.ada) as hurt,
        world.client(gateway, world.gemini, world.grace) as well,
        world.redis() as redis,
    ):
        await redis.set(f"{{{world.prefix}project:{world.apollo}}}:log", "somebody else's")
        await world.database.execute(
            "select neverstale.notify('x', 'UPDATE', project, '1')"
            " from unnest($1::text[]) as project",
            [world.apollo, world.gemini],
        )
        assert (await well.next())["type"] == "cache_invalidate"
        frame = await hurt.next()
        assert (frame["type"], frame["project_id"]) == ("reconnect", world.apollo)
        await world.database.execute(
            "select neverstale.notify('x', 'UPDATE', $1, '2')", world.apollo
        )
        assert (await hurt.next())["data"]["id"] == "2", "its log is ours again"
    assert await metric(world, listener, "neverstale_publish_refused_total") == 1
    assert await metric(world, listener, "neverstale_redis_lost_total") == 0
    assert listener.logged("redis refused events, their channels were reset", count=1)
    assert not listener.logged("reset", reason="bulk_change")


async def test_a_foreign_value_under_a_channels_key_hurts_no_other_reader(world: World) -> None:
    await world.listener()
    gateway = await world.gateway()
    async with world.redis() as redis:
        await redis.set(f"{{{world.prefix}project:{world.apollo}}}:log", "somebody else's")
    async with (
        world.client(gateway, world.apollo, world.ada, v1=True) as reading,
        world.client(gateway, world.gemini, world.grace, v1=True) as well,
    ):
        await assert_flows(world, reading)
        await world.database.execute(
            "select neverstale.notify('x', 'UPDATE', $1, '1')", world.gemini
        )
        assert (await well.next())["type"] == "cache_invalidate"
    assert not gateway.logged("redis lost")


async def test_a_foreign_value_under_the_states_key_is_replaced(world: World) -> None:
    await world.listener()
    generation = await state(world, "generation")
    async with world.redis() as redis:
        await redis.delete(f"{world.prefix}neverstale:state")
        await redis.set(f"{world.prefix}neverstale:state", "somebody else's")
        async with asyncio.timeout(HANG_SECONDS):
            while await redis.type(f"{world.prefix}neverstale:state") != b"hash":
                await asyncio.sleep(0.02)
    assert await state(world, "generation") not in ("", generation)
    await until_state(world, "live", "1")


async def test_a_stored_cursor_that_postgresql_cannot_read_is_a_reset(world: World) -> None:
    first = await world.listener()
    await until_state(world, "live", "1")
    await first.end()
    stored = json.loads(await state(world, "cursor"))
    generation = await state(world, "generation")
    async with world.redis() as redis:
        cursor = json.dumps({**stored, "snapshot": "no snapshot"})
        await redis.hset(f"{world.prefix}neverstale:state", "cursor", cursor)
    await world.listener()
    gateway = await world.gateway()
    async with world.client(gateway, world.apollo, world.ada) as client:
        await assert_flows(world, client)
    assert await state(world, "generation") != generation


async def test_a_row_of_a_hundred_megabytes_takes_no_memory_of_the_leader(world: World) -> None:
    """Written by somebody who has rights on the log, or by an older version."""
    listener = await world.listener()
    gateway = await world.gateway()
    async with (
        world.client(gateway, world.apollo, world.ada) as hurt,
        world.client(gateway, world.gemini, world.grace) as well,
    ):
        before = peak_bytes(listener)
        await world.database.execute(
            "insert into neverstale.change_log (project_id, resource, id, action)"
            " select $1, repeat('r', 100000000), repeat('i', 100000000), 'UPDATE'",
            world.apollo,
        )
        assert is_reset(frame := await hurt.next())
        assert frame["project_id"] == world.apollo
        await world.database.execute(
            "select neverstale.notify('x', 'UPDATE', $1, '1')", world.gemini
        )
        assert (await well.next())["resource"] == "x"
        assert peak_bytes(listener) < before + 50_000_000


async def test_ten_thousand_projects_in_one_transaction_are_all_told(world: World) -> None:
    listener = await world.listener()
    before = peak_bytes(listener)
    async with subscribed(world) as subscriber:
        await subscriber.until_marked()
        await world.database.execute(
            "select neverstale.notify('x', 'UPDATE', md5(n::text)::uuid::text, '1')"
            " from generate_series(1, 10000) n"
        )
        told = [heard.short for heard in await subscriber.until_marked()]
    assert len({short[0] for short in told if short[1] == "x"}) == 10_000
    assert not listener.logged("reset", reason="bulk_change")
    assert peak_bytes(listener) < before + 100_000_000


async def test_a_value_of_megabytes_in_a_watched_column_stops_nobody(world: World) -> None:
    await world.listener()
    gateway = await world.gateway()
    async with world.client(gateway, world.apollo, world.ada) as client:
        await world.database.execute(
            "update tasks set title = repeat('x', 50000000) where id = $1", TASK
        )
        assert (await client.next())["data"]["id"] == TASK

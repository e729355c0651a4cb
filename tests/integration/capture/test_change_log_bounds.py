"""A log that is full, or disabled: the app writes on, and what was skipped is reset."""

import asyncio
from typing import Any

import asyncpg
import pytest

from listener.capture.triggers import LOG_BYTES
from tests.support.changes import assert_flows, change, is_reset
from tests.support.demo_data import TASK
from tests.support.inspection import state, until_state
from tests.support.processes import HANG_SECONDS, Client
from tests.support.world import World

MEBIBYTE = 1024 * 1024


async def log_bytes(world: World) -> int:
    return int(await world.database.fetchval(f"select {LOG_BYTES}") or 0)


async def fill(world: World) -> None:
    """Change rows with no listener there, until nothing more is logged."""
    while await log_bytes(world) <= MEBIBYTE:
        await world.database.execute(
            "select neverstale.notify('x', 'UPDATE', $1, n::text)"
            " from generate_series(1, 2000) as n",
            world.apollo,
        )


async def flows(world: World, client: Client) -> None:
    """Changes of another row than the one that is locked are told, or covered by a reset."""
    frame: dict[str, Any] = {}
    while frame.get("resource") != "project":
        await world.database.execute(
            "update projects set name = 'x' where id = $1", world.apollo
        )
        frame = await client.next()


async def test_a_full_log_is_not_live_until_all_that_may_have_skipped_has_ended(
    world: World,
) -> None:
    world.more["LOG_MAX_BYTES"] = str(MEBIBYTE)
    assert await world.install() == 0
    first = await world.listener()
    gateway = await world.gateway()
    async with world.client(gateway, world.apollo, world.ada) as client:
        await first.end()
        await fill(world)
        holding = await asyncpg.connect(world.database_url)
        vacuum_held_off = holding.transaction()
        await vacuum_held_off.start()
        await holding.execute("lock table neverstale.change_log in share update exclusive mode")
        size = await log_bytes(world)
        for _ in range(100):
            await change(world)
        assert await log_bytes(world) == size, "triggers skip, so the disk does not grow"

        second = await world.listener()
        await until_state(world, "live", "0")
        async with asyncio.timeout(HANG_SECONDS):
            while await world.database.fetchval("select count(*) from neverstale.change_log"):
                await asyncio.sleep(0.05)
        late = await asyncpg.connect(world.database_url)
        skipping = late.transaction()
        await skipping.start()
        await late.execute("update tasks set title = 'skipped' where id = $1", TASK)
        await vacuum_held_off.rollback()
        await holding.close()
        async with asyncio.timeout(HANG_SECONDS):
            while await log_bytes(world) > MEBIBYTE:
                await asyncio.sleep(0.05)
        await second.end()
        async with world.redis() as redis:
            await redis.delete(f"{world.prefix}neverstale:state")
        third = await world.listener()  # a take-over in between
        await flows(world, client)
        assert await state(world, "live") == "0"
        assert not third.logged("reset", reason="log_full"), (
            "one that may have skipped still runs"
        )

        await skipping.commit()
        await late.close()
        frames = await client.until(
            lambda frame: is_reset(frame) and frame["data"]["reason"] == "log_full"
        )
        assert "project_id" not in frames[-1]
        await until_state(world, "live", "1")
        await assert_flows(world, client)


async def test_what_was_skipped_while_nobody_read_is_reset_though_the_log_has_shrunk(
    world: World,
) -> None:
    world.more["LOG_MAX_BYTES"] = str(MEBIBYTE)
    assert await world.install() == 0
    await (await world.listener()).end()
    generation = await state(world, "generation")
    big = await asyncpg.connect(world.database_url)
    undone = big.transaction()
    await undone.start()
    await big.execute(
        "select neverstale.notify('x', 'UPDATE', $1, n::text)"
        " from generate_series(1, 20000) as n",
        world.apollo,
    )
    assert await log_bytes(world) > MEBIBYTE
    await world.database.execute("update tasks set title = 'skipped' where id = $1", TASK)
    await undone.rollback()
    await big.close()
    await world.database.execute("vacuum neverstale.change_log")
    assert await log_bytes(world) < MEBIBYTE

    again = await world.listener()
    await until_state(world, "reason", "log_full")
    assert await state(world, "generation") != generation
    await until_state(world, "live", "1")
    assert again.logged("reset", reason="log_full")


async def test_disable_stops_capture_at_once_and_install_resets(world: World) -> None:
    await world.listener()
    gateway = await world.gateway()
    blocker = await asyncpg.connect(world.database_url)
    async with world.client(gateway, world.apollo, world.ada) as client:
        writing = blocker.transaction()
        await writing.start()
        await blocker.execute("update tasks set title = 'before' where id = $1", TASK)
        code, output, _ = await world.command("listener", "disable")
        assert (code, output.startswith("disabled")) == (0, True), "no writer is waited for"
        await writing.commit()
        assert not is_reset(await client.next()), "what was logged before is told"
        await until_state(world, "live", "0")
        await change(world)
        assert (await world.command("neverstale", "check"))[0] == 1
        assert await world.database.fetchval("select count(*) from neverstale.change_log") <= 1

        assert await world.install() == 0
        await client.until(
            lambda frame: is_reset(frame) and frame["data"]["reason"] == "log_full"
        )
        await until_state(world, "live", "1")
        await assert_flows(world, client)
    await blocker.close()


async def test_disable_without_an_installation_says_so(world: World) -> None:
    await world.command("listener", "uninstall")
    code, _, errors = await world.command("listener", "disable")
    assert (code, "not installed" in errors) == (1, True)
    code, _, errors = await world.command("neverstale", "check")
    assert (code, "not installed" in errors) == (1, True)


async def test_notify_refuses_what_can_be_no_event(world: World) -> None:
    for arguments in ("null, 'UPDATE', 'p'", "'x', 'MERGE', 'p'", "'x', 'UPDATE', null"):
        with pytest.raises(asyncpg.InvalidParameterValueError, match="needs a resource"):
            await world.database.execute(f"select neverstale.notify({arguments})")

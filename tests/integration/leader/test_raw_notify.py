"""NOTIFYs of strangers: a few are events, a flood of them harms nobody else."""

import asyncio
import json
import signal
from collections.abc import Mapping

from tests.integration.setup.test_check_notes import notes
from tests.support.changes import assert_flows, is_reset
from tests.support.inspection import metric
from tests.support.processes import HANG_SECONDS, Part
from tests.support.subscriber import subscribed
from tests.support.world import World

SEEN = "select raw_notify_seen from neverstale.installation"


async def notify(world: World, payload: str, source: str = "generate_series(1, 1) n") -> None:
    """Send a payload, an SQL expression, for each row of the source: all at once."""
    await world.database.execute(
        f"select pg_notify('cache_invalidate', {payload}) from {source}"
    )


def well_formed(project: str, id_: str = "'1'") -> str:
    return (
        "json_build_object('resource', 'report', 'action', 'UPDATE',"
        f" 'project_id', {project}, 'id', {id_})::text"
    )


async def until_metric(world: World, part: Part, values: Mapping[str, float]) -> None:
    async with asyncio.timeout(HANG_SECONDS):
        for name, value in values.items():
            while await metric(world, part, name) != value:
                await asyncio.sleep(0.05)


async def test_a_flood_of_malformed_ones_is_counted_and_costs_nobody_a_reset(
    world: World,
) -> None:
    listener = await world.listener()
    gateway = await world.gateway()
    async with world.client(gateway, world.apollo, world.ada) as client:
        await notify(world, "'no json ' || n", "generate_series(1, 25000) n")
        await assert_flows(world, client)
        await until_metric(world, listener, {"neverstale_notify_malformed_total": 25_000})
        assert not any(is_reset(json.loads(raw)) for raw in client.raw[1:])
    skipped = [
        line for line in listener.lines if line["message"] == "malformed notifications skipped"
    ]
    assert 0 < len(skipped) < 10
    assert not listener.logged("reset", reason="notify_reconnect")
    assert not await world.database.fetchval(SEEN)


async def test_a_flood_for_one_project_is_its_reconnect_alone(world: World) -> None:
    listener = await world.listener()
    async with subscribed(world) as subscriber:
        await subscriber.until_marked()
        await notify(
            world, well_formed(f"'{world.apollo}'", "n"), "generate_series(1, 25000) n"
        )
        await notify(world, well_formed(f"'{world.gemini}'"))
        told = set()
        while (f"project:{world.gemini}", "report", "UPDATE", "1") not in told:
            told.add((await subscriber.next()).short)
    assert (f"project:{world.apollo}", "reconnect", "bulk_change") in told
    assert not listener.logged("reset", reason="notify_reconnect")


async def test_a_flood_for_more_projects_than_are_kept_is_a_reset(world: World) -> None:
    listener = await world.listener()
    gateway = await world.gateway()
    async with world.client(gateway, world.apollo, world.ada) as client:
        await notify(world, well_formed("md5(n::text)::uuid"), "generate_series(1, 25000) n")
        frames = await client.until(is_reset)
        assert frames[-1]["data"]["reason"] == "notify_reconnect"
        await assert_flows(world, client)
    assert listener.logged("reset", reason="notify_reconnect")


async def test_switched_off_they_are_ignored_and_a_new_leader_resets_nobody(
    world: World,
) -> None:
    await world.database.execute("select setval('neverstale.raw_notify_seen', 1)")
    leader = await world.listener(RAW_NOTIFY="false")
    standby = await world.listener(role="standby", RAW_NOTIFY="false")
    gateway = await world.gateway()
    async with world.client(gateway, world.apollo, world.ada) as client:
        await notify(world, well_formed(f"'{world.apollo}'"))
        await until_metric(world, leader, {"neverstale_notify_ignored_total": 1})
        await leader.end(signal.SIGKILL)
        await standby.ready(world.http, role="leader")
        await assert_flows(world, client)
        frames = [json.loads(raw) for raw in client.raw[1:]]
        assert not any(is_reset(frame) or frame["resource"] == "report" for frame in frames)


async def test_that_one_was_seen_is_noted_and_can_be_cleared(world: World) -> None:
    await world.listener()
    gateway = await world.gateway()
    async with world.client(gateway, world.apollo, world.ada) as client:
        await notify(world, well_formed(f"'{world.apollo}'"))
        assert (await client.next())["resource"] == "report"
    [note] = await notes(world)
    assert "install --clear-raw-notify" in note
    assert (await world.install()) == 0
    assert await world.database.fetchval(SEEN), "not by an install that is not told to"
    code, _, errors = await world.command("listener", "install", "--clear-raw-notify")
    assert (code, errors) == (0, "")
    assert not await world.database.fetchval(SEEN)
    assert await notes(world) == []
    code, _, errors = await world.command("neverstale", "check", "--clear-raw-notify")
    assert (code, "unrecognized arguments: --clear-raw-notify" in errors) == (2, True)

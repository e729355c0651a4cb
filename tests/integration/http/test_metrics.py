"""What a running stack measures."""

import asyncio
import re
from collections.abc import Mapping

from prometheus_client.parser import text_string_to_metric_families

from tests.support.inspection import metrics_of
from tests.support.processes import HANG_SECONDS, Part
from tests.support.v1_client import notify, rows, v1
from tests.support.world import World


async def samples(world: World, part: Part) -> dict[str, float]:
    """Return each sample as ``name{label,label}``: the values of its labels."""
    return {
        f"{sample.name}{{{','.join(sample.labels.values())}}}"
        if sample.labels
        else sample.name: (sample.value)
        for family in text_string_to_metric_families(await metrics_of(world, part))
        for sample in family.samples
    }


async def until(world: World, part: Part, **least: float) -> Mapping[str, float]:
    """Wait until these samples have at least these values."""
    found: Mapping[str, float] = {}
    try:
        async with asyncio.timeout(HANG_SECONDS):
            while any(not found.get(name, -1) >= value for name, value in least.items()):
                found = await samples(world, part)
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError({name: found.get(name) for name in least}) from None
    return found


async def test_a_change_is_measured_from_its_log_row_to_the_end_of_its_socket(
    world: World,
) -> None:
    listener, gateway = await world.listener(), await world.gateway()
    async with v1(world, gateway, world.apollo) as client:
        assert (await client.next())["type"] == "connected"
        ready = await until(world, gateway, neverstale_redis_round_trip_seconds_count=1)
        assert ready["neverstale_sockets{v1}"] == 1
        assert ready["neverstale_handshake_seconds_count"] == 1
        assert ready["neverstale_live"] == ready["neverstale_redis_linked"] == 1
        assert ready["neverstale_tick_age_seconds"] < HANG_SECONDS
        assert ready["neverstale_access_query_seconds_count"] >= 1
        await notify(world, "7")
        assert await rows(client, "7") == ["7"]
        delivered = await until(world, gateway, neverstale_delivery_seconds_count=1)
        assert delivered["neverstale_delivery_seconds_sum"] < HANG_SECONDS
        # Redis is asked every few seconds
        known = await until(world, gateway, neverstale_redis_output_buffer_bytes=0)
        assert known["neverstale_redis_output_buffer_bytes"] >= 0
    ended = await until(world, gateway, **{"neverstale_sockets_closed_total{1000,v1}": 1})
    assert ended["neverstale_sockets{v1}"] == 0
    led = await until(
        world, listener, neverstale_log_bytes=1, neverstale_publish_seconds_count=1
    )
    assert led["neverstale_events_published_total{task}"] == 1
    assert led["neverstale_publish_seconds_sum"] < HANG_SECONDS
    assert led["neverstale_log_max_bytes"] == 2**30
    assert 0 <= led["neverstale_notification_queue_ratio"] < 1
    assert led["process_open_fds"] > 0
    [line] = [line for line in gateway.lines if line["message"] == "connection ended"]
    assert (line["code"], line["kind"], line["left_out"]) == (1000, "v1", 0)
    assert re.fullmatch(r"[0-9a-f]+", line["connection"])
    assert world.ada not in "".join(gateway.raw_lines), "no ids of users"

"""Traces of events, as a receiver gets them from a listener and gateways."""

import asyncio
import socket
from datetime import datetime
from functools import partial
from typing import Any

import pytest

from deploy.dev.servers import free_port
from shared.protocol.trace_ids import sampled_trace, sampling_bound
from tests.support.inspection import metrics_of
from tests.support.processes import HANG_SECONDS, Client, Part, eventually
from tests.support.trace_receiver import running_receiver
from tests.support.v1_client import notify, rows, v1
from tests.support.world import World


def traced(url: str, **more: str) -> dict[str, str]:
    return {
        "OTEL_TRACES_EXPORTER": "otlp",
        "OTEL_EXPORTER_OTLP_ENDPOINT": url,
        "OTEL_TRACES_SAMPLER_ARG": "1",
        "OTEL_BSP_SCHEDULE_DELAY": "20",
        **more,
    }


async def until_dated(world: World, gateway: Part, client: Client) -> None:
    """Wait until a tick has told a gateway the database's time, by which it dates spans."""
    number = 0
    async with asyncio.timeout(HANG_SECONDS):
        while "neverstale_delivery_seconds_count 0.0" in await metrics_of(world, gateway):
            number += 1
            await notify(world, f"early {number}")
            await rows(client, f"early {number}")


async def event_of(client: Client, row: str) -> dict[str, Any]:
    frames = await client.until(lambda frame: frame.get("data", {}).get("id") == row)
    return frames[-1]


async def test_one_change_is_one_trace_from_the_row_to_each_gateway(world: World) -> None:
    async with running_receiver() as receiver:
        world.more = traced(receiver.url)
        await world.listener()
        one, two = await world.gateway(), await world.gateway(OTEL_SERVICE_NAME="edge")
        async with (
            v1(world, one, world.apollo) as first,
            v1(world, one, world.apollo) as second,
            v1(world, two, world.apollo) as third,
        ):
            for client in (first, second, third):
                await client.next()
            await until_dated(world, one, first)
            await until_dated(world, two, third)
            await notify(world, "before", "traced")
            before = await event_of(first, "before")
            event = await event_of(first, "traced")
            assert (await event_of(third, "traced"))["cursor"] == event["cursor"]
        async with v1(world, two, world.apollo, since=before["cursor"]) as returning:
            await event_of(returning, "traced")
        trace = sampled_trace(event["cursor"].encode(), sampling_bound(1))
        assert trace is not None
        await eventually(lambda: len(receiver.of_trace(trace.trace_id)) == 6, "all spans")

    spans = {span.name: span for span in receiver.of_trace(trace.trace_id)}
    root, read, publish = spans["change"], spans["read change log"], spans["publish"]
    assert (root.span_id, root.parent_id) == (trace.root_span_id, 0)
    written = datetime.fromisoformat(event["data"]["timestamp"]).timestamp()
    assert root.began == pytest.approx(written, abs=1e-6)
    assert root.began <= read.began <= read.ended <= publish.began <= publish.ended
    assert root.ended == publish.ended
    assert root.attributes["neverstale.resource"] == "task"
    assert {span.service for span in (root, read, publish)} == {"neverstale-listener"}

    sent = [span for span in receiver.of_trace(trace.trace_id) if span.name == "send"]
    assert sorted(
        (
            span.service,
            span.attributes["neverstale.replayed"],
            span.attributes["neverstale.subscribers"],
        )
        for span in sent
    ) == [("edge", False, 1), ("edge", True, 1), ("neverstale-gateway", False, 2)]
    assert all(root.began <= span.began <= span.ended for span in sent)
    assert {span.parent_id for span in (read, publish, *sent)} == {root.span_id}
    for secret in (world.apollo, world.ada, "traced"):
        assert secret not in repr(receiver.spans)


@pytest.mark.parametrize("receiver", ["refuses", "hangs"])
async def test_a_receiver_that_takes_nothing_delays_nothing(
    world: World, receiver: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1] if receiver == "hangs" else free_port()
        queue = {"OTEL_BSP_MAX_QUEUE_SIZE": "5", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "5"}
        world.more = traced(f"http://127.0.0.1:{port}", **queue)
        listener, gateway = await world.listener(), await world.gateway()
        async with v1(world, gateway, world.apollo) as client:
            await client.next()
            await until_dated(world, gateway, client)
            names = [f"row {number}" for number in range(50)]
            await notify(world, *names)
            assert set(await rows(client, names[-1])) == {*names}
        for part in (gateway, listener):
            await eventually(partial(has_dropped, part), "more spans than the queue holds")
            assert await part.end() == 0


def has_dropped(part: Part) -> bool:
    return any("dropping Span" in line["message"] for line in part.lines)

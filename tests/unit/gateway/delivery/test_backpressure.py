"""Clients that read slower than they are sent to: what is kept for them is bounded."""

import asyncio
from collections.abc import Sequence

from gateway.delivery.catch_up import MAX_BYTES_PER_BATCH
from gateway.delivery.fanout import Fanout
from gateway.delivery.writes import MAX_CHUNK_BYTES
from gateway.transport.connection import HIGH_WATER_BYTES, Connection
from shared.protocol.channels import Channel
from shared.protocol.replay import Cursor
from tests.unit.gateway.delivery.fanouts import NAMES, Logs, P, U, fanout, frame, joined
from tests.unit.gateway.transport.fake_socket import (
    FakeTransport,
    until_greeted,
)


async def joined_and_filled(
    made: Fanout, tasks: asyncio.TaskGroup
) -> tuple[Connection, FakeTransport]:
    """A live client with an exactly full buffer."""
    client, transport = joined(made, tasks)
    made.acknowledge(NAMES)
    await until_greeted(client)
    transport.reads, transport.unread = False, HIGH_WATER_BYTES
    return client, transport


async def test_a_client_whose_buffer_fills_up_still_gets_the_rest_of_the_chunk() -> None:
    async with asyncio.TaskGroup() as tasks:
        made = await fanout(tasks)
        _, transport = await joined_and_filled(made, tasks)
        batch: Sequence[tuple[bytes, bytes]] = [
            (NAMES[0], frame(P, "first", 100)),
            (NAMES[1], frame(U, "second", 101)),
        ]
        made.deliver(batch)
        assert b'"first"' in transport.told
        assert b'"second"' in transport.told
        made.deliver([(NAMES[0], frame(P, "third", 102))])
        assert b'"third"' not in transport.told, "it is caught up once it has drained"


async def test_every_write_counts_towards_the_full_buffer() -> None:
    """Answers, pongs and errors count, not only events."""
    async with asyncio.TaskGroup() as tasks:
        made = await fanout(tasks)
        client, transport = await joined_and_filled(made, tasks)
        client.write(b"pong")
        made.deliver([(NAMES[0], frame(P, "first", 100))])
        assert b'"first"' not in transport.told
        running = tasks.create_task(made.run())
        transport.read_all()
        async with asyncio.timeout(10):
            while not made._subscriptions.is_caught_up(client):
                await asyncio.sleep(0.01)
        running.cancel()


async def test_one_read_of_redis_exceeds_the_bound_by_one_chunk_at_most() -> None:
    async with asyncio.TaskGroup() as tasks:
        made = await fanout(tasks)
        client, transport = joined(made, tasks)
        made.acknowledge(NAMES)
        await until_greeted(client)
        transport.reads = False
        made.deliver([(NAMES[0], frame(P, f"r{n}", 100 + n)) for n in range(5000)])
        assert HIGH_WATER_BYTES < transport.unread < HIGH_WATER_BYTES + 2 * MAX_CHUNK_BYTES
        assert not transport.is_cut


async def test_a_hundred_replays_to_a_client_that_never_reads_are_bounded() -> None:
    async with asyncio.TaskGroup() as tasks:
        logs = Logs(rows=20)
        made = await fanout(tasks, logs=logs)
        client, transport = joined(made, tasks)
        made.acknowledge(NAMES)
        await until_greeted(client)
        transport.reads = False
        channels = [Channel("project", f"p{n}") for n in range(100)]
        for channel in channels:
            made.subscribe(client, channel, Cursor(channel, "g1.x", 5))
        made.acknowledge([channel.name.encode() for channel in channels])
        async with asyncio.timeout(10):
            while not client.has_backpressure:
                await asyncio.sleep(0)
        reads = logs.reads
        for _ in range(100):
            await asyncio.sleep(0)
        assert logs.reads <= reads + 1, (
            "nothing is read that cannot be written, except in the batch in flight"
        )
        bound = HIGH_WATER_BYTES + MAX_BYTES_PER_BATCH + 100 * 1024
        assert HIGH_WATER_BYTES < transport.most_unread < bound
        assert not transport.is_cut
        running = tasks.create_task(made.run())
        transport.read_all()
        async with asyncio.timeout(10):
            while not made._subscriptions.is_caught_up(client):
                await asyncio.sleep(0.01)
        for channel in channels:
            assert transport.told.count(f'"{channel.token}.g1.x.25"'.encode()) == 1
        running.cancel()


async def test_a_client_that_does_not_drain_is_closed() -> None:
    async with asyncio.TaskGroup() as tasks:
        made = await fanout(tasks, slow_seconds=0)
        client, transport = await joined_and_filled(made, tasks)
        client.write(b"more")
        running = tasks.create_task(made.run())
        async with asyncio.timeout(10):
            while b"too slow" not in transport.told:
                await asyncio.sleep(0.01)
        running.cancel()
        assert made._metrics.slow_outcomes.labels("closed")._value.get() == 1

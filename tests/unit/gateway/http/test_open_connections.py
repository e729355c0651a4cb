"""When a drain has ended."""

import asyncio

from prometheus_client import CollectorRegistry

from gateway.http.connection_records import ConnectionRecords
from gateway.http.open_connections import OpenConnections
from tests.unit.gateway.transport.fake_socket import FakeTransport, connection


def open_connections(*, drain_seconds: float) -> OpenConnections:
    return OpenConnections(ConnectionRecords(CollectorRegistry()), drain_seconds=drain_seconds)


async def until_draining(connections: OpenConnections) -> None:
    async with asyncio.timeout(10):
        while not connections.is_draining:
            await asyncio.sleep(0)


async def test_a_drain_waits_for_handshakes_that_are_being_answered() -> None:
    async with asyncio.TaskGroup() as tasks:
        connections = open_connections(drain_seconds=0)
        stop, drained = asyncio.Event(), asyncio.Event()
        tasks.create_task(connections.drain_when(stop, drained))
        accepted = connection(tasks, FakeTransport())
        connections.begin_opening()
        stop.set()
        await until_draining(connections)
        for _ in range(5):
            await asyncio.sleep(0)
        assert not drained.is_set()
        connections.add(accepted)
        connections.end_opening()
        assert not drained.is_set(), "it has been accepted"
        connections.discard(accepted)
        async with asyncio.timeout(10):
            await drained.wait()


async def test_a_drain_without_connections_ends_at_once() -> None:
    async with asyncio.TaskGroup() as tasks:
        stop, drained = asyncio.Event(), asyncio.Event()
        tasks.create_task(open_connections(drain_seconds=10).drain_when(stop, drained))
        stop.set()
        async with asyncio.timeout(10):
            await drained.wait()

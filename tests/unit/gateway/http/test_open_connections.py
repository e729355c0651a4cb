"""When a drain has ended."""

import asyncio

import pytest
from prometheus_client import CollectorRegistry

from gateway.http.connection_records import ConnectionRecords
from gateway.http.open_connections import OpenConnections
from gateway.transport.connection import Connection
from tests.unit.gateway.transport.fake_socket import FakeTransport, connection


def open_connections(*, drain_seconds: float) -> OpenConnections:
    return OpenConnections(ConnectionRecords(CollectorRegistry()), drain_seconds=drain_seconds)


def accept(
    tasks: asyncio.TaskGroup, connections: OpenConnections, count: int
) -> list[Connection]:
    accepted: list[Connection] = [connection(tasks, FakeTransport()) for _ in range(count)]
    for one in accepted:
        connections.add(one)
    return accepted


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


async def test_a_drain_ends_as_soon_as_all_clients_have_left() -> None:
    async with asyncio.TaskGroup() as tasks:
        connections = open_connections(drain_seconds=280)
        accepted = accept(tasks, connections, 1000)
        stop, drained = asyncio.Event(), asyncio.Event()
        tasks.create_task(connections.drain_when(stop, drained))
        stop.set()
        await until_draining(connections)
        for one in accepted:
            connections.discard(one)
        async with asyncio.timeout(10):  # instead of the 20 s of 50 connections a second
            await drained.wait()


async def test_a_drain_does_not_take_longer_because_each_of_its_sleeps_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seconds = 0.0

    async def oversleep(delay: float) -> None:
        nonlocal seconds
        seconds += delay + 0.01

    async with asyncio.TaskGroup() as tasks:
        connections = open_connections(drain_seconds=1)
        accepted = accept(tasks, connections, 100)
        stop, drained = asyncio.Event(), asyncio.Event()
        stop.set()
        with monkeypatch.context() as patches:
            patches.setattr(asyncio, "sleep", oversleep)
            patches.setattr(asyncio.get_running_loop(), "time", lambda: seconds)
            drain = connections.drain_when(stop, drained)
            drain.send(None)  # until it waits for the connections
        assert seconds == pytest.approx(1.01)
        for one in accepted:
            connections.discard(one)
        drain.close()

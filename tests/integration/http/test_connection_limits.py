"""Connections are counted in total and by address, within the limit of descriptors."""

import asyncio
import resource
from contextlib import AsyncExitStack

from shared.http.connection_limits import HttpLimits
from tests.integration.http.connections import (
    GZIP,
    GZIPPED,
    OTHERS,
    answered,
    bare_gateway,
    few_descriptors,
    open_idle,
    read_response,
    request,
    serving,
    status,
    until_closed,
)
from tests.support.changes import assert_flows
from tests.support.inspection import metrics_of
from tests.support.processes import HANG_SECONDS
from tests.support.world import World


async def test_idle_connections_lock_nobody_out(world: World) -> None:
    await world.listener()
    gateway = await few_descriptors(world, 100, 200)
    await gateway.ready(world.http)
    async with AsyncExitStack() as stack, asyncio.timeout(2 * HANG_SECONDS):
        first = await open_idle(gateway.port, 100, stack)
        await open_idle(gateway.port, 200, stack)
        async with world.client(gateway, world.apollo, world.ada) as client:
            await assert_flows(world, client)
        for reader, _ in first:  # who waited longest had to go
            assert await reader.read() == b""
    assert gateway.logged("descriptor limit", soft=200)
    assert gateway.logged(
        "too few file descriptors: raise the hard limit, or lower MAX_SOCKETS"
    )


async def test_the_soft_descriptor_limit_is_raised(world: World) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    gateway = await few_descriptors(
        world, 100, hard, MAX_SOCKETS="10", MAX_HTTP_CONNECTIONS="5"
    )
    await serving(world, gateway)
    assert gateway.process is not None
    assert resource.prlimit(gateway.process.pid, resource.RLIMIT_NOFILE) == (hard, hard)
    assert not [line for line in gateway.lines if line["level"] == "warning"]


async def test_connections_are_counted_in_all(world: World) -> None:
    gateway = await bare_gateway(world, MAX_HTTP_CONNECTIONS="10")
    async with AsyncExitStack() as stack:
        [(first, _), *_] = await open_idle(gateway.port, 10, stack)
        [(reader, writer)] = await open_idle(gateway.port, 1, stack)
        assert await until_closed(first) == b""
        writer.write(request("GET", "/healthz"))
        assert await read_response(reader) == 200
        lines = (await metrics_of(world, gateway)).splitlines()
        assert "neverstale_http_connections 10.0" in lines
        assert [
            line
            for line in lines
            if line.startswith('neverstale_http_cut_total{reason="full"}')
        ]


async def test_connections_are_counted_by_address_unless_they_are_a_proxys(
    world: World,
) -> None:
    counted = await bare_gateway(world, MAX_SOCKETS_PER_ADDRESS="3", TRUSTED_PROXIES=OTHERS)
    proxied = await bare_gateway(
        world, MAX_SOCKETS_PER_ADDRESS="3", TRUSTED_PROXIES="127.0.0.1"
    )
    unnamed = await bare_gateway(world, MAX_SOCKETS_PER_ADDRESS="3")
    async with AsyncExitStack() as stack:
        [(first, _), *others] = await open_idle(counted.port, 3, stack)
        await open_idle(counted.port, 1, stack)
        assert await until_closed(first) == b""
        assert not others[-1][0].at_eof()
        for gateway in (proxied, unnamed):
            idle = await open_idle(gateway.port, 9, stack)
            for reader, writer in idle:
                writer.write(request("GET", "/healthz"))
                assert await read_response(reader) == 200


async def test_the_health_port_has_the_same_limits(world: World) -> None:
    listener = await world.listener()
    idle_connections = HttpLimits().max_connections
    async with AsyncExitStack() as stack:
        [(first, _), *_] = await open_idle(listener.port, idle_connections + 1, stack)
        assert await until_closed(first) == b""
    for sent, expected in (
        (request("GET", "/metrics", *(f"A{n}: {'x' * 8000}" for n in range(9))), 431),
        (request("POST", "/metrics", *GZIP, body=GZIPPED), 405),
        (request("GET", "/readyz", "Content-Length: 5"), 400),
    ):
        assert status(await answered(listener, sent)) == expected

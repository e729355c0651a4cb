"""The TCP proxy that tests break networks with: it forwards, cuts, swallows and heals."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from deploy.dev.servers import free_port
from tests.support.tcp_proxy import Proxy

HANG_SECONDS = 10.0


@asynccontextmanager
async def proxied_echo() -> AsyncIterator[Proxy]:
    """A proxy before a server that says everything back."""

    served: set[asyncio.StreamWriter] = set()

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.add(writer)
        with suppress(ConnectionError):
            while data := await reader.read(1024):
                writer.write(data)
                await writer.drain()
        await close(writer)
        served.discard(writer)

    server = await asyncio.start_server(echo, "127.0.0.1", free_port())
    async with asyncio.timeout(HANG_SECONDS):
        proxy = Proxy(server.sockets[0].getsockname()[1])
        await proxy.start()
        yield proxy
        await proxy.close()
        while served:
            await asyncio.sleep(0.01)
    server.close()


async def connect(proxy: Proxy) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", proxy.port)


async def close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


async def say(proxy: Proxy, sent: bytes) -> bytes:
    """What comes back on a connection of its own."""
    reader, writer = await connect(proxy)
    writer.write(sent)
    answer = await reader.readexactly(len(sent))
    await close(writer)
    return answer


async def test_it_passes_everything_on() -> None:
    async with proxied_echo() as proxy:
        sent = bytes(range(256)) * 100
        assert await say(proxy, sent) == sent


async def test_a_cut_ends_connections_and_the_next_is_taken() -> None:
    async with proxied_echo() as proxy:
        reader, writer = await connect(proxy)
        writer.write(b"a")
        assert await reader.readexactly(1) == b"a"
        proxy.cut()
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await reader.readexactly(1)
        await close(writer)
        assert await say(proxy, b"b") == b"b"


async def test_a_black_hole_swallows_until_it_heals() -> None:
    async with proxied_echo() as proxy:
        reader, writer = await connect(proxy)
        writer.write(b"a")
        assert await reader.readexactly(1) == b"a"
        proxy.swallow()
        writer.write(b"b")
        async with asyncio.TaskGroup() as tasks:
            old = tasks.create_task(reader.readexactly(1))
            new = tasks.create_task(say(proxy, b"c"))
            done, _ = await asyncio.wait([old, new], timeout=0.2)
            assert not done
            proxy.heal()
        assert (old.result(), new.result()) == (b"b", b"c")
        await close(writer)


async def test_who_does_not_read_is_felt_by_who_writes() -> None:
    async with proxied_echo() as proxy:
        _, writer = await connect(proxy)
        for _ in range(200):
            writer.write(bytes(65536))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await writer.drain()
        writer.transport.abort()
        await close(writer)


async def test_a_target_that_refuses_is_passed_over_and_a_closed_proxy_refuses() -> None:
    async with proxied_echo() as proxy:
        [target] = proxy.target_ports
        proxy.target_ports = [free_port(), target]
        _, writer = await connect(proxy)
        writer.write(b"a")
        assert await say(proxy, b"b") == b"b"
        assert target in proxy.connected_ports
        await proxy.close()
        assert not proxy.connected_ports
        with pytest.raises(ConnectionError):
            await connect(proxy)
        await close(writer)
        await proxy.start()
        assert await say(proxy, b"c") == b"c"

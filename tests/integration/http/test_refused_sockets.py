"""Refused and ended sockets are not read, hold no slot and end soon."""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from types import MappingProxyType

import pytest

from gateway.http.admin_api import DISCONNECT_PATH
from gateway.transport.clients import V1Client
from shared.http import upgrades
from shared.http.connection_limits import HttpLimits
from shared.http.upgrades import UpgradeRequest
from shared.protocol.close_codes import FORBIDDEN
from tests.integration.http.connections import (
    CLOSE,
    PING,
    PONG,
    TEXT,
    UNREAD_BYTES,
    bare_gateway,
    connected,
    plain_server,
    refused_handshake,
    send_much,
    small_buffers,
)
from tests.support.changes import assert_flows
from tests.support.frames import frame
from tests.support.handshakes import UPGRADE, handshake
from tests.support.inspection import open_files
from tests.support.processes import HANG_SECONDS, WS_PATH
from tests.support.server_frames import read_frame
from tests.support.world import World


async def test_a_refused_socket_is_not_read_and_holds_no_slot(world: World) -> None:
    await world.listener()
    gateway = await world.gateway(MAX_SOCKETS="1", MAX_FAILED_AUTHENTICATIONS="0")
    async with connected(gateway.port) as (reader, writer):
        writer.write(refused_handshake() + frame(PING, b"early"))
        assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
        told = await read_frame(reader)
        assert (told.opcode, b'"unauthorized"' in told.payload) == (TEXT, True)
        told = await read_frame(reader)
        assert (told.opcode, told.code) == (CLOSE, 4401)
        async with world.client(gateway, world.apollo, world.ada) as client:
            small_buffers(writer)
            assert await send_much(writer, frame(PONG, b"x" * 125) * 500) < UNREAD_BYTES
            await assert_flows(world, client)


async def test_a_refused_socket_ends_as_soon_as_its_client_has_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(upgrades, "LINGER_SECONDS", 1000.0)

    class Refusing:
        paths: Mapping[str, bool] = MappingProxyType({WS_PATH: True})

        def open(self, request: UpgradeRequest) -> None:
            V1Client.refuse(request, UPGRADE["Sec-WebSocket-Key"], FORBIDDEN)

    async with plain_server(HttpLimits(), upgrades=Refusing()) as port:
        for end in ("answer", "end of file"):
            async with connected(port) as (reader, writer):
                writer.write(refused_handshake() + frame(TEXT, b"x" * 99))
                await reader.readuntil(b"\r\n\r\n")
                assert (await read_frame(reader)).opcode == TEXT
                assert (await read_frame(reader)).code == 4403
                writer.write(frame(PING, b"x"))
                if end == "answer":
                    writer.write(frame(CLOSE, (4403).to_bytes(2, "big") + b"why"))
                else:
                    writer.write_eof()
                async with asyncio.timeout(HANG_SECONDS):
                    assert await reader.read() == b"", end


async def test_sockets_that_the_gateway_ends_are_not_read(world: World) -> None:
    await world.listener()
    gateway = await world.gateway(MAX_MESSAGES_PER_SECOND="1", ADMIN_KEY="k" * 32)
    for end in ("flood", "disconnect"):
        async with connected(gateway.port) as (reader, writer):
            writer.write(handshake())
            await reader.readuntil(b"\r\n\r\n")
            assert (await read_frame(reader)).opcode == TEXT
            if end == "disconnect":
                async with world.http.post(
                    gateway.url + DISCONNECT_PATH,
                    json={"user_id": world.ada},
                    headers={"Authorization": f"Bearer {'k' * 32}"},
                ) as response:
                    assert response.status == 200
                code = 4401
            else:
                writer.write(frame(PING, b"") * 600)  # more than a page with 100 projects may
                code = 4429
            told = await read_frame(reader)
            while told.opcode != CLOSE:
                told = await read_frame(reader)
            assert told.code == code, end
            small_buffers(writer)
            assert await send_much(writer, frame(PONG, b"x" * 125) * 500) < UNREAD_BYTES, end


async def test_lingering_refused_sockets_are_bounded(world: World) -> None:
    gateway = await bare_gateway(
        world, MAX_HTTP_CONNECTIONS="5", MAX_FAILED_AUTHENTICATIONS="0"
    )
    async with AsyncExitStack() as stack:
        for _ in range(40):
            reader, writer = await stack.enter_async_context(connected(gateway.port))
            writer.write(refused_handshake())
            await reader.readuntil(b"\r\n\r\n")
        assert open_files(gateway) < 40

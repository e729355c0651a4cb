"""What one client, user or address may take, and what is told to those who want more."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from tests.support.changes import assert_flows
from tests.support.demo_data import APOLLO
from tests.support.handshakes import UPGRADE, refused_plain, refused_v1
from tests.support.inspection import connections
from tests.support.processes import HANG_SECONDS, Client, Part, token
from tests.support.v1_client import v1
from tests.support.world import World

QUERY = f"?project_id={APOLLO}"
TOO_MANY = "too_many_connections"


@pytest.fixture(autouse=True)
async def listener(world: World) -> Part:
    return await world.listener()


@asynccontextmanager
async def from_address(world: World, gateway: Part, address: str) -> AsyncIterator[Client]:
    async with world.http.ws_connect(
        f"{gateway.url}/api/v1/messages/ws{QUERY}",
        headers={
            "Authorization": f"Bearer {token(world.ada)}",
            "X-Forwarded-For": f"7.7.7.7, {address}",
        },
    ) as websocket:
        client = Client(websocket)
        await client.next()
        yield client


async def refused_from(
    world: World, gateway: Part, address: str, bearer: str | None = None
) -> tuple[int, str]:
    headers = {
        "Authorization": f"Bearer {bearer or token(world.ada)}",
        "X-Forwarded-For": f"7.7.7.7, {address}",
    }
    return await refused_plain(world, gateway, QUERY, headers)


async def test_a_user_has_so_many_sockets(world: World) -> None:
    gateway = await world.gateway(MAX_SOCKETS_PER_USER="2")
    good = token(world.ada)
    async with (
        world.client(gateway, world.apollo, world.ada) as first,
        world.client(gateway, world.gemini, world.grace),
    ):
        async with v1(world, gateway, world.apollo) as second:
            await second.next()
            headers = {"Authorization": f"Bearer {good}"}
            assert await refused_plain(world, gateway, QUERY, headers) == (429, TOO_MANY)
            assert await refused_v1(world, gateway, QUERY, good) == (4429, TOO_MANY)
        await asyncio.sleep(0.1)
        async with world.client(gateway, world.apollo, world.ada) as third:
            await assert_flows(world, third)
        await assert_flows(world, first)


async def test_a_process_has_so_many_sockets(world: World) -> None:
    gateway = await world.gateway(MAX_SOCKETS="1")
    async with world.client(gateway, world.apollo, world.ada) as first:
        bearer = {"Authorization": f"Bearer {token(world.grace)}"}
        assert await refused_plain(world, gateway, QUERY, bearer) == (429, TOO_MANY)
        assert await refused_v1(world, gateway, QUERY, token(world.ada)) == (4429, TOO_MANY)
        await gateway.ready(world.http)
        await assert_flows(world, first)


async def test_an_address_is_told_by_a_trusted_proxy_alone(world: World) -> None:
    proxied = await world.gateway(MAX_SOCKETS_PER_ADDRESS="1", TRUSTED_PROXIES="127.0.0.1")
    direct = await world.gateway(MAX_SOCKETS_PER_ADDRESS="1", TRUSTED_PROXIES="10.0.0.0/8")
    async with (
        from_address(world, proxied, "1.1.1.1"),
        from_address(world, proxied, "2.2.2.2"),
        from_address(world, direct, "1.1.1.1"),
    ):
        assert await refused_from(world, proxied, "1.1.1.1") == (429, TOO_MANY)
        assert await refused_from(world, direct, "2.2.2.2") == (429, TOO_MANY)


async def test_the_header_of_the_address_is_a_setting(world: World) -> None:
    gateway = await world.gateway(
        MAX_SOCKETS_PER_ADDRESS="1",
        TRUSTED_PROXIES="127.0.0.1",
        CLIENT_ADDRESS_HEADER="Fly-Client-IP",
    )
    async with AsyncExitStack() as stack:
        for number in range(2):
            await stack.enter_async_context(
                world.http.ws_connect(
                    f"{gateway.url}/api/v1/messages/ws{QUERY}",
                    headers={
                        "Authorization": f"Bearer {token(world.ada)}",
                        "X-Forwarded-For": "1.1.1.1",
                        "Fly-Client-IP": f"2.2.2.{number}",
                    },
                )
            )


async def test_who_guesses_tokens_is_slowed_down(world: World) -> None:
    gateway = await world.gateway(MAX_FAILED_AUTHENTICATIONS="3", TRUSTED_PROXIES="127.0.0.1")
    expired, bad = token(world.ada, exp=1), token(world.ada)[:-4] + "AAAA"
    for _ in range(5):
        told = await refused_from(world, gateway, "1.1.1.1", expired)
        assert told == (401, "token_expired")
    for _ in range(3):
        told = await refused_from(world, gateway, "1.1.1.1", bad)
        assert told == (401, "unauthorized")
    limited = (429, "rate_limited")
    assert await refused_from(world, gateway, "1.1.1.1", bad) == limited
    assert await refused_from(world, gateway, "1.1.1.1") == limited
    headers = {"X-Forwarded-For": "1.1.1.1", "Authorization": "Bearer x"}
    async with world.http.get(
        f"{gateway.url}/api/v1/messages/ws{QUERY}", headers={**UPGRADE, **headers}
    ) as response:
        assert 0 < int(response.headers["Retry-After"]) <= 20
    async with world.http.post(
        f"{gateway.url}/api/v1/messages/ticket",
        headers=headers,
        json={"project_id": world.apollo},
    ) as response:
        assert (response.status, "Retry-After" in response.headers) == (429, True)
    async with from_address(world, gateway, "2.2.2.2"):
        pass


async def test_a_forged_ticket_counts_as_a_guess(world: World) -> None:
    gateway = await world.gateway(MAX_FAILED_AUTHENTICATIONS="1", TRUSTED_PROXIES="127.0.0.1")
    headers = {"X-Forwarded-For": "1.1.1.1"}
    for status in (401, 429):
        told = await refused_plain(world, gateway, f"{QUERY}&ticket=x", headers)
        assert told[0] == status


# ten frames at once, and one more every 2 s
SLOW: dict[str, Any] = {"MAX_MESSAGES_PER_SECOND": "0.5", "MAX_PROJECTS_PER_SOCKET": "1"}


async def test_who_sends_too_much_is_told_and_then_closed(world: World) -> None:
    gateway = await world.gateway(**SLOW)
    async with v1(world, gateway, world.apollo) as client:
        await client.next()
        for _ in range(11):
            await client.socket.send_json({"type": "ping"})
        frames = await client.until(lambda frame: frame["type"] == "error")
        assert frames[-1]["code"] == "rate_limited"
        for _ in range(6):
            await client.socket.ping()
        assert await client.closed() == 4429


async def test_who_sends_a_little_too_much_is_slowed_down(world: World) -> None:
    """Nothing is lost: what it sent is read later."""
    gateway = await world.gateway(**SLOW)
    async with v1(world, gateway, world.apollo) as client:
        await client.next()
        for _ in range(11):
            await client.socket.send_json({"type": "ping"})
        await client.until(lambda frame: frame["type"] == "error")
        for _ in range(2):
            await client.socket.send_json({"type": "ping"})
        frames = [await client.next() for _ in range(15 - len(client.raw))]
        assert {frame["type"] for frame in frames} == {"pong"}
        await assert_flows(world, client)


async def test_a_plain_client_that_sends_too_much_is_closed(world: World) -> None:
    gateway = await world.gateway(**SLOW)
    async with world.client(gateway, world.apollo, world.ada) as client:
        for _ in range(20):
            await client.socket.send_str("")
        assert await client.closed() == 4429
        assert len(client.raw) == 1


async def test_a_message_may_be_so_long(world: World) -> None:
    gateway = await world.gateway(MAX_MESSAGE_BYTES="2048")
    async with v1(world, gateway, world.apollo) as client:
        await client.next()
        await client.socket.send_json({"type": "ping", "padding": "x" * 1900})
        assert (await client.next())["type"] == "pong"
        await client.socket.send_str(json.dumps({"padding": "x" * 2048}))
        assert await client.closed() == 1009


async def test_a_socket_hears_of_so_many_projects(world: World) -> None:
    gateway = await world.gateway(MAX_PROJECTS_PER_SOCKET="1")
    async with v1(world, gateway, world.apollo) as client:
        await client.next()
        await client.socket.send_json({"type": "subscribe", "project_id": world.gemini})
        assert (await client.next())["code"] == "too_many_subscriptions"


@pytest.mark.parametrize(
    "sent", [b"", b"GET / HTTP/1.1\r\nHost: x\r\nA: "], ids=["nothing", "half a request"]
)
async def test_who_is_slow_with_a_handshake_is_cut_off(world: World, sent: bytes) -> None:
    gateway = await world.gateway(HANDSHAKE_SECONDS="0.5")
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(sent)
    async with world.client(gateway, world.apollo, world.ada) as client:
        async with asyncio.timeout(HANG_SECONDS):
            try:
                while not reader.at_eof():
                    if sent:
                        writer.write(b"x")
                    await asyncio.sleep(0.05)
            except ConnectionResetError:
                pass
        await asyncio.sleep(0.6)
        await assert_flows(world, client)
    writer.close()


async def test_seats_are_given_back_however_a_socket_ends(world: World) -> None:
    gateway = await world.gateway(
        MAX_SOCKETS_PER_USER="1", MAX_SOCKETS_PER_ADDRESS="1", TRUSTED_PROXIES="127.0.0.1"
    )
    for end in ("close", "abort", "refused"):
        async with from_address(world, gateway, "1.1.1.1") as client:
            if end == "abort":
                client.socket.get_extra_info("socket").shutdown(socket.SHUT_RDWR)
        if end == "refused":
            bad = await refused_from(world, gateway, "1.1.1.1", "x")
            assert bad == (401, "unauthorized")
        async with asyncio.timeout(HANG_SECONDS):
            while await connections(world, gateway):
                await asyncio.sleep(0.01)

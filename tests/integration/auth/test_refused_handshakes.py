"""Whoever may not come in is told why, by the documented status or close code, and nothing
breaks.
"""

import asyncio
import base64
import json
from typing import Any

import aiohttp
import jwt
import pytest

from tests.support.demo_data import ADA, APOLLO, GEMINI
from tests.support.handshakes import GOOD, UPGRADE, raw_socket, refused_plain, refused_v1
from tests.support.processes import (
    HANG_SECONDS,
    SECRET,
    WS_PATH,
    Client,
    Part,
    connected,
    token,
)
from tests.support.world import World


def unsigned(claims: dict[str, Any]) -> str:
    parts = [{"alg": "none", "typ": "JWT"}, claims]
    text = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in parts]
    return b".".join([*text, b""]).decode()


BAD_TOKENS = {
    "none": (None, 401, "unauthorized"),
    "empty": ("", 401, "unauthorized"),
    "garbage": ("garbage", 401, "unauthorized"),
    "three parts of garbage": ("a.b.c", 401, "unauthorized"),
    "expired": (token(ADA, exp=1), 401, "token_expired"),
    "without exp": (jwt.encode({"sub": ADA}, SECRET, "HS256"), 401, "unauthorized"),
    "not yet valid": (token(ADA, nbf=4_000_000_000), 401, "unauthorized"),
    "alg none": (unsigned({"sub": ADA, "exp": 4_000_000_000}), 401, "unauthorized"),
    "wrong signature": (GOOD[:-4] + "AAAA", 401, "unauthorized"),
    "another secret": (
        jwt.encode({"sub": ADA, "exp": 4_000_000_000}, SECRET + "x", "HS256"),
        401,
        "unauthorized",
    ),
    "no user": (jwt.encode({"exp": 4_000_000_000}, SECRET, "HS256"), 401, "unauthorized"),
    "a user that is no UUID": (token("ada"), 401, "unauthorized"),
    "too long": (token(ADA, padding="x" * 9000), 401, "unauthorized"),
}
BAD_QUERIES = {
    "no project_id": ("", 400, "bad_request"),
    "empty project_id": ("?project_id=", 400, "bad_request"),
    "malformed project_id": ("?project_id=apollo", 400, "bad_request"),
    "two project_ids": (f"?project_id={APOLLO}&project_id={GEMINI}", 400, "bad_request"),
    "SQL in project_id": ("?project_id=';drop table tasks;--", 400, "bad_request"),
    "no access": (f"?project_id={GEMINI}", 403, "forbidden"),
    "no such project": (f"?project_id={GEMINI[:-1]}f", 403, "forbidden"),
}


@pytest.fixture
async def gateway(world: World) -> Part:
    await world.listener()
    return await world.gateway()


async def test_a_bad_token_is_refused_with_its_status_or_close_code(
    world: World, gateway: Part
) -> None:
    query = f"?project_id={APOLLO}"
    for name, (bearer, status, code) in BAD_TOKENS.items():
        headers = {} if bearer is None else {"Authorization": f"Bearer {bearer}"}
        told = await refused_plain(world, gateway, query, headers)
        assert told == (status, code), name
        assert await refused_v1(world, gateway, query, bearer) == (4000 + status, code), name


async def test_a_bad_or_foreign_project_is_refused(world: World, gateway: Part) -> None:
    for name, (query, status, code) in BAD_QUERIES.items():
        headers = {"Authorization": f"Bearer {GOOD}"}
        assert await refused_plain(world, gateway, query, headers) == (status, code), name
        if query not in ("", "?project_id="):  # a v1 client may come without
            told = await refused_v1(world, gateway, query, GOOD)
            assert told == (4000 + status, code), name
    async with connected(world.http, gateway, "", world.ada, v1=True) as client:
        greeting = await client.next()
        assert (greeting["type"], list(greeting["cursors"])) == (
            "connected",
            [f"user:{world.ada}"],
        )


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"Authorization": f"Basic {GOOD}"}, 401, "unauthorized"),
        ({"Authorization": "Bearer"}, 401, "unauthorized"),
        ({"Sec-WebSocket-Protocol": f"bearer.{GOOD}"}, 400, "bad_request"),
        ({"Authorization": f"Bearer {GOOD}", "Sec-WebSocket-Key": "short"}, 400, "bad_request"),
    ],
    ids=["not Bearer", "no token", "bearer alone", "bad key"],
)
async def test_a_wrong_handshake_is_refused(
    world: World, gateway: Part, headers: dict[str, str], status: int, code: str
) -> None:
    told = await refused_plain(world, gateway, f"?project_id={APOLLO}", headers)
    assert told == (status, code)


async def test_the_first_token_decides_and_nothing_falls_through(
    world: World, gateway: Part
) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await world.http.ws_connect(
            f"{gateway.url}{WS_PATH}?project_id={APOLLO}",
            headers={"Authorization": "Bearer garbage"},
        )
    assert refused.value.status == 401
    async with world.http.ws_connect(
        f"{gateway.url}{WS_PATH}?project_id={APOLLO}",
        headers={"Authorization": "Bearer garbage"},
        protocols=("neverstale.v1", f"bearer.{GOOD}"),
    ) as socket:
        assert (await Client(socket).next())["code"] == "unauthorized"


@pytest.mark.parametrize(
    "spelling",
    [APOLLO.upper(), APOLLO.replace("-", ""), f"%7B{APOLLO}%7D"],
    ids=["upper case", "without dashes", "in braces"],
)
async def test_an_id_in_another_spelling_reaches_the_same_channel(
    world: World, gateway: Part, spelling: str
) -> None:
    async with world.client(gateway, spelling, world.ada.upper(), v1=True) as client:
        await world.database.execute("update projects set name = 'A' where id = $1", APOLLO)
        for channel in (f"user:{world.ada}", f"project:{APOLLO}"):
            frame = await client.next()
            assert (frame["project_id"], frame["channel"]) == (APOLLO, channel)


async def test_a_request_that_is_no_websocket_is_told_to_upgrade(
    world: World, gateway: Part
) -> None:
    url = f"{gateway.url}{WS_PATH}?project_id={APOLLO}"
    for headers in ({}, {**UPGRADE, "Sec-WebSocket-Version": "8"}):
        async with world.http.get(url, headers=headers) as response:
            assert response.status == 426
            assert response.headers["Upgrade"] == "websocket"
            assert response.headers["Sec-WebSocket-Version"] == "13"
            assert (await response.json())["error"]["code"] == "upgrade_required"
    async with world.http.post(url) as response:
        assert response.status == 405
        assert (await response.json())["error"]["code"] == "method_not_allowed"
    async with world.http.get(f"{gateway.url}/nowhere") as response:
        assert response.status == 404
        assert (await response.json())["error"]["code"] == "not_found"


def masked(first: int, payload: bytes, *, length: int | None = None) -> bytes:
    size = len(payload) if length is None else length
    return bytes((first, 0x80 | 127)) + size.to_bytes(8, "big") + bytes(4) + payload


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (masked(0x81, b"x" * 70_000), 1009),
        (masked(0x82, b"binary"), 1003),
        (masked(0x81, b"\xff\xfe"), 1007),
        (masked(0x83, b"reserved opcode"), 1002),
    ],
    ids=["oversized", "binary", "bad UTF-8", "reserved opcode"],
)
async def test_a_bad_frame_closes_with_its_code(gateway: Part, sent: bytes, code: int) -> None:
    reader, writer = await raw_socket(gateway)
    writer.write(sent)
    async with asyncio.timeout(HANG_SECONDS):
        received = b""
        while b"\x88" not in received:
            received += await reader.read(1024)
        frame = received[received.rindex(b"\x88") :]
        assert int.from_bytes(frame[2:4], "big") == code
    writer.close()


async def test_without_redis_newcomers_are_told_to_come_back(own_world: World) -> None:
    world = own_world
    await world.listener()
    gateway = await world.gateway()
    world.servers.valkey.stop()
    await gateway.ready(world.http, status=503, redis=False)
    query = f"?project_id={APOLLO}"
    headers = {"Authorization": f"Bearer {GOOD}"}
    assert await refused_plain(world, gateway, query, headers) == (503, "unavailable")
    assert await refused_v1(world, gateway, query, GOOD) == (1013, "unavailable")

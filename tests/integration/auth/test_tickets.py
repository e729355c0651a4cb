"""A page that can set no header gets a ticket, which opens one socket, once."""

import asyncio
import json
import time
from hashlib import sha256
from typing import Any

import pytest

from tests.support.handshakes import UPGRADE, refused_plain
from tests.support.processes import WS_PATH, Client, Part, token
from tests.support.world import World

PATH = "/api/v1/messages/ticket"
ADMIN_KEY = "a key for tests that is long enough"


@pytest.fixture
async def gateway(world: World) -> Part:
    await world.listener()
    return await world.gateway(ALLOWED_ORIGINS="https://app.test", JWT_LEEWAY_SECONDS="0")


async def ask(
    world: World, gateway: Part, body: Any = None, **headers: str
) -> tuple[int, dict[str, Any]]:
    given = headers or {"Authorization": f"Bearer {token(world.ada)}"}
    async with world.http.post(
        gateway.url + PATH,
        data=json.dumps({"project_id": world.apollo}) if body is None else body,
        headers={name.replace("_", "-"): value for name, value in given.items()},
    ) as response:
        assert response.headers["Vary"] == "Origin"
        return response.status, await response.json()


async def ticket_of(world: World, gateway: Part, **headers: str) -> str:
    status, told = await ask(world, gateway, **headers)
    assert (status, told["expires_in"]) == (201, 30), told
    return str(told["ticket"])


def query(world: World, ticket: str, project_id: str | None = None) -> str:
    return f"?project_id={project_id or world.apollo}&ticket={ticket}"


UNAUTHORIZED = (401, "unauthorized")


async def test_a_ticket_opens_one_socket_on_another_gateway_and_is_then_used(
    world: World, gateway: Part
) -> None:
    other = await world.gateway()
    ticket = await ticket_of(world, gateway)
    url = f"{other.url}{WS_PATH}{query(world, ticket)}"
    async with world.http.ws_connect(url) as socket:
        client = Client(socket)
        assert (await client.next())["type"] == "reconnect"
        await world.database.execute(
            "update projects set name = 'x' where id = $1", world.apollo
        )
        assert (await client.next())["project_id"] == world.apollo
    assert await refused_plain(world, other, query(world, ticket), {}) == UNAUTHORIZED
    for part in (gateway, other):
        await part.end()
        assert ticket not in "".join(part.raw_lines)


async def test_of_two_who_redeem_a_ticket_at_once_one_wins(world: World, gateway: Part) -> None:
    ticket = await ticket_of(world, gateway)

    async def redeem() -> int:
        async with world.http.get(
            f"{gateway.url}{WS_PATH}{query(world, ticket)}", headers=UPGRADE
        ) as response:
            return response.status

    statuses = await asyncio.gather(*(redeem() for _ in range(8)))
    assert sorted(statuses) == [101] + [401] * 7


async def test_what_is_no_good_ticket_is_refused(world: World, gateway: Part) -> None:
    ticket = await ticket_of(world, gateway)
    for bad in ("", "x", ticket[:-1], ticket + "x", "%00", "%F0%9F%98%80"):
        told = await refused_plain(world, gateway, query(world, bad), {})
        assert told == UNAUTHORIZED, bad
    twice = f"{query(world, ticket)}&ticket=x"
    assert await refused_plain(world, gateway, twice, {}) == (400, "bad_request")
    foreign = query(world, ticket, world.gemini)
    assert await refused_plain(world, gateway, foreign, {}) == UNAUTHORIZED
    assert await refused_plain(world, gateway, query(world, ticket), {}) == UNAUTHORIZED


async def test_a_token_before_it_decides(world: World, gateway: Part) -> None:
    bad = {"Authorization": "Bearer x"}
    ticket = await ticket_of(world, gateway)
    assert await refused_plain(world, gateway, query(world, ticket), bad) == UNAUTHORIZED
    async with world.http.ws_connect(f"{gateway.url}{WS_PATH}{query(world, ticket)}") as socket:
        assert (await Client(socket).next())["type"] == "reconnect"


async def test_a_ticket_is_stored_by_digest_behind_the_prefix_for_30_s(
    world: World, gateway: Part
) -> None:
    ticket = await ticket_of(world, gateway)
    key = f"{world.prefix}neverstale:ticket:{sha256(ticket.encode()).hexdigest()}"
    async with world.redis() as redis:
        assert 28_000 < await redis.pttl(key) <= 30_000
        assert ticket not in str(await redis.get(key))
        await redis.pexpire(key, 1)
        await asyncio.sleep(0.01)
    assert await refused_plain(world, gateway, query(world, ticket), {}) == UNAUTHORIZED


async def test_a_socket_by_ticket_ends_with_the_token_behind_it(
    world: World, gateway: Part
) -> None:
    bearer = token(world.ada, exp=int(time.time() + 2))
    header = {"Authorization": f"Bearer {bearer}"}
    first, second = [await ticket_of(world, gateway, **header) for _ in range(2)]
    async with world.http.ws_connect(f"{gateway.url}{WS_PATH}{query(world, first)}") as socket:
        assert await Client(socket).closed() == 4401
    told = await refused_plain(world, gateway, query(world, second), {})
    assert told == (401, "token_expired")


async def test_a_ticket_is_given_to_whom_a_socket_would_be(world: World, gateway: Part) -> None:
    header = {"Authorization": f"Bearer {token(world.ada)}"}
    cookie = f"access_token={token(world.ada)}"
    gemini = json.dumps({"project_id": world.gemini})
    cases: list[tuple[int, Any, dict[str, str]]] = [
        (401, None, {"Authorization": "Bearer x"}),
        (401, None, {"Authorization": f"Bearer {token(world.ada, exp=1)}"}),
        (401, None, {"Accept": "*/*"}),
        # no place for the token of a plain request
        (401, None, {"Sec-WebSocket-Protocol": f"neverstale.v1, bearer.{token(world.ada)}"}),
        (403, None, {"Cookie": cookie}),
        (403, None, {"Cookie": cookie, "Origin": "https://evil.test"}),
        (201, None, {"Cookie": cookie, "Origin": gateway.url}),
        (201, None, {"Cookie": cookie, "Origin": "https://app.test"}),
        (403, gemini, header),
        (400, "{", header),
        (400, "[]", header),
        (400, "{}", header),
        (400, '{"project_id":true}', header),
        (400, '{"project_id":"apollo"}', header),
        (201, json.dumps({"projectId": world.apollo.upper()}), header),
        (413, "x" * 20_000, header),
    ]
    for status, body, headers in cases:
        async with world.http.post(
            gateway.url + PATH,
            data=body or json.dumps({"project_id": world.apollo}),
            headers=headers,
        ) as response:
            assert response.status == status, (body, headers)
            assert ("ticket" in await response.json()) is (status == 201)


async def test_a_ticket_is_not_a_way_to_another_ticket(world: World, gateway: Part) -> None:
    ticket = await ticket_of(world, gateway)
    async with world.http.post(
        f"{gateway.url}{PATH}?ticket={ticket}", json={"project_id": world.apollo}
    ) as response:
        assert response.status == 401


@pytest.mark.parametrize("is_preflight", [True, False], ids=["preflight", "request"])
async def test_only_pages_of_this_host_and_of_friends_may_read_the_answer(
    world: World, gateway: Part, is_preflight: bool
) -> None:
    for origin, is_allowed in {
        gateway.url: True,
        "https://app.test": True,
        "https://evil.test": False,
        "https://app.test.evil.test": False,
        "null": False,
        "": False,
    }.items():
        asked = {"Access-Control-Request-Method": "POST"} if is_preflight else {}
        async with world.http.request(
            "OPTIONS" if is_preflight else "POST",
            gateway.url + PATH,
            headers={**asked, **({"Origin": origin} if origin else {})},
        ) as response:
            assert response.status == (204 if is_preflight else 401)
            assert response.headers["Vary"] == "Origin"
            told = {name for name in response.headers if name.startswith("Access-Control-")}
            assert bool(told) is is_allowed, origin
            if is_allowed:
                assert response.headers["Access-Control-Allow-Origin"] == origin
                assert response.headers["Access-Control-Allow-Credentials"] == "true"
                assert ("Access-Control-Allow-Headers" in told) is is_preflight


async def test_a_user_who_asks_for_too_many_tickets_must_wait(
    world: World, gateway: Part
) -> None:
    statuses = [(await ask(world, gateway))[0] for _ in range(130)]
    assert statuses[:100] == [201] * 100
    assert 429 in statuses


async def test_without_redis_there_are_no_tickets(own_world: World) -> None:
    world = own_world
    await world.listener()
    gateway = await world.gateway(ADMIN_KEY=ADMIN_KEY)
    world.servers.valkey.stop()
    await gateway.ready(world.http, status=503, redis=False)
    status, told = await ask(world, gateway)
    assert (status, told["error"]["code"]) == (503, "unavailable")
    told_socket = await refused_plain(world, gateway, query(world, "x"), {})
    assert told_socket == (503, "unavailable")
    async with world.http.post(
        f"{gateway.url}/api/v1/admin/disconnect",
        json={"user_id": world.ada},
        headers={"Authorization": f"Bearer {ADMIN_KEY}"},
    ) as response:
        assert response.status == 503

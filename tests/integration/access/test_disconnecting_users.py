"""An operator ends a user's sockets, wherever they are."""

from typing import Any

import pytest

from tests.support.changes import assert_flows
from tests.support.processes import Part
from tests.support.v1_client import v1
from tests.support.world import World

PATH = "/api/v1/admin/disconnect"
KEY = "a key for tests that is long enough"


async def ask(
    world: World, gateway: Part, body: Any, authorization: str = f"Bearer {KEY}"
) -> tuple[int, Any]:
    async with world.http.post(
        gateway.url + PATH, json=body, headers={"Authorization": authorization}
    ) as response:
        told = await response.json()
        return response.status, told.get("published") or told["error"]["code"]


async def test_a_user_is_disconnected_on_every_gateway(world: World) -> None:
    await world.listener()
    first, second = [await world.gateway(ADMIN_KEY=KEY) for _ in range(2)]
    async with (
        world.client(first, world.apollo, world.ada) as here,
        v1(world, second, world.apollo) as there,
        world.client(first, world.gemini, world.grace) as another,
    ):
        await there.next()
        assert await ask(world, first, {"user_id": world.ada.upper()}) == (200, True)
        assert await here.closed() == 4401
        assert (await there.next())["code"] == "unauthorized"
        assert await there.closed() == 4401
        await world.database.execute(
            "update projects set name = 'x' where id = $1", world.gemini
        )
        assert (await another.next())["project_id"] == world.gemini
    async with world.client(first, world.apollo, world.ada) as back:
        await assert_flows(world, back)  # a token that is still good opens a new one
    for gateway in (first, second):
        await gateway.end()
        assert KEY not in "".join(gateway.raw_lines)


@pytest.mark.parametrize(
    ("body", "authorization", "status", "code"),
    [
        ({"user_id": "x"}, "", 401, "unauthorized"),
        ({"user_id": "x"}, KEY, 401, "unauthorized"),
        ({"user_id": "x"}, f"Basic {KEY}", 401, "unauthorized"),
        ({"user_id": "x"}, f"Bearer {KEY}x", 401, "unauthorized"),
        ({"user_id": "x"}, "Bearer \udcff", 401, "unauthorized"),
        ({"user_id": "x"}, f"Bearer {KEY}", 400, "bad_request"),
        ({"user_id": None}, f"Bearer {KEY}", 400, "bad_request"),
        ({"user_id": True}, f"Bearer {KEY}", 400, "bad_request"),
        ([], f"Bearer {KEY}", 400, "bad_request"),
    ],
)
async def test_others_and_mistakes_are_refused(
    world: World, body: Any, authorization: str, status: int, code: str
) -> None:
    gateway = await world.gateway(ready=False, ADMIN_KEY=KEY)
    await gateway.ready(world.http, status=503)
    assert await ask(world, gateway, body, authorization) == (status, code)


async def test_without_a_key_there_is_no_such_call(world: World) -> None:
    gateway = await world.gateway(ready=False)
    await gateway.ready(world.http, status=503)
    assert await ask(world, gateway, {"user_id": world.ada}) == (404, "not_found")
    code, _, errors = await world.command("gateway", ADMIN_KEY="short")
    assert (code, "ADMIN_KEY must have at least 32 bytes" in errors) == (2, True)

"""A socket lives no longer than its token; a v1 client may send a fresh one."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.support.processes import Client, Part, connected_by, token
from tests.support.v1_client import notify, rows
from tests.support.world import World


@pytest.fixture
async def gateway(world: World) -> Part:
    await world.listener()
    return await world.gateway(JWT_LEEWAY_SECONDS="0")


def soon(seconds: float = 2) -> int:
    return int(time.time() + seconds)


@asynccontextmanager
async def until(world: World, gateway: Part, exp: int, *, v1: bool) -> AsyncIterator[Client]:
    """A greeted client whose token ends then."""
    bearer = token(world.ada, exp=exp)
    async with connected_by(world.http, gateway, world.apollo, bearer, v1=v1) as client:
        await client.next()
        yield client


async def test_a_plain_client_is_closed_when_its_token_ends(
    world: World, gateway: Part
) -> None:
    exp = soon()
    async with until(world, gateway, exp, v1=False) as client:
        assert await client.closed() == 4401
        assert time.time() >= exp


async def test_a_v1_client_is_warned_and_then_closed(world: World, gateway: Part) -> None:
    async with until(world, gateway, soon(), v1=True) as client:
        warning = await client.next()
        assert warning["type"] == "token_expiring"
        assert 0 <= warning["in"] <= 2
        assert (await client.next())["code"] == "token_expired"
        assert await client.closed() == 4401


async def test_a_fresh_token_of_the_same_user_keeps_the_socket(
    world: World, gateway: Part
) -> None:
    exp = soon()
    async with until(world, gateway, exp, v1=True) as client:
        assert (await client.next())["type"] == "token_expiring"
        fresh = token(world.ada, exp=soon(3600))
        await client.socket.send_json({"type": "auth", "token": fresh})
        answer = await client.next()
        assert answer["type"] == "auth_ok"
        assert 3590 <= answer["expires_in"] <= 3600
        while time.time() < exp + 1:
            await notify(world, "live")
            assert await rows(client, "live") == ["live"]


async def test_a_token_that_is_not_valid_leaves_the_old_one(
    world: World, gateway: Part
) -> None:
    async with until(world, gateway, soon(3600), v1=True) as client:
        for bad, code in (
            ("garbage", "unauthorized"),
            (token(world.ada, exp=1), "token_expired"),
            (None, "bad_request"),
        ):
            await client.socket.send_json({"type": "auth", "token": bad})
            assert (await client.next())["code"] == code
        await notify(world, "live")
        assert await rows(client, "live") == ["live"]


async def test_a_token_of_another_user_ends_the_socket(world: World, gateway: Part) -> None:
    async with until(world, gateway, soon(3600), v1=True) as client:
        await client.socket.send_json({"type": "auth", "token": token(world.grace)})
        assert (await client.next())["code"] == "unauthorized"
        assert await client.closed() == 4401


async def test_a_fresh_token_has_all_access_asked_anew(world: World, gateway: Part) -> None:
    async with until(world, gateway, soon(3600), v1=True) as client:
        await world.database.execute("alter table projects disable trigger all")
        await world.database.execute("update projects set owner_id = gen_random_uuid()")
        await client.socket.send_json({"type": "auth", "token": token(world.ada)})
        assert (await client.next())["type"] == "auth_ok"
        assert await client.closed() == 4403

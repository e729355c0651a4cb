"""A key that is withdrawn, or a secret that is changed, ends what it admitted; nothing else."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import jwt
import pytest

from tests.support.changes import assert_flows
from tests.support.demo_data import ADA, APOLLO
from tests.support.handshakes import refused_plain
from tests.support.key_server import NEW, OLD, KeyServer, jwks, signed
from tests.support.processes import SECRET, WS_PATH, Client, Part, connected_by, eventually
from tests.support.world import World

OTHER_SECRET = "another secret for tests, long enough"


@asynccontextmanager
async def opened_by(
    world: World, gateway: Part, bearer: str, *, v1: bool = False
) -> AsyncIterator[Client]:
    """A greeted client that came with this token."""
    async with connected_by(world.http, gateway, APOLLO, bearer, v1=v1) as client:
        await client.next()
        yield client


async def ticket_by(world: World, gateway: Part, bearer: str) -> str:
    async with world.http.post(
        f"{gateway.url}/api/v1/messages/ticket",
        headers={"Authorization": f"Bearer {bearer}"},
        json={"project_id": APOLLO},
    ) as response:
        assert response.status == 201
        return str((await response.json())["ticket"])


async def assert_ended(plain: Client, v1: Client) -> None:
    assert await plain.closed() == 4401
    assert (await v1.next())["code"] == "unauthorized"
    assert await v1.closed() == 4401


async def test_a_key_that_is_not_published_any_more_ends_its_sockets_and_tickets(
    world: World, key_server: KeyServer
) -> None:
    await world.listener()
    settings: dict[str, Any] = {
        "JWT_SECRET": "",
        "JWT_JWKS_URL": key_server.url,
        "JWT_JWKS_REFRESH_SECONDS": "1",
    }
    key_server.document = jwks(old=OLD, new=NEW)
    gateways = [await world.gateway(**settings) for _ in range(2)]
    gateway, other = gateways
    async with (
        opened_by(world, gateway, signed(OLD, "old")) as plain,
        opened_by(world, gateway, signed(OLD, "old"), v1=True) as v1,
        opened_by(world, gateway, signed(NEW, "new"), v1=True) as stays,
        opened_by(world, other, signed(OLD, "old"), v1=True) as renewed,
    ):
        await renewed.socket.send_json({"type": "auth", "token": signed(NEW, "new")})
        assert (await renewed.next())["type"] == "auth_ok"
        key_server.document = jwks(new=NEW, old=OLD)  # in another order
        await eventually(lambda: gateway.logged("keys read", kids=["new", "old"]), "not read")
        key_server.status = 500  # what can't be read withdraws nothing
        await gateway.ready(world.http, keys="degraded")
        for client in (plain, v1, stays, renewed):
            await client.socket.ping()
        ticket = await ticket_by(world, gateway, signed(OLD, "old"))
        good = await ticket_by(world, gateway, signed(NEW, "new"))
        key_server.document, key_server.status = jwks(new=NEW), 200
        await assert_ended(plain, v1)
        await eventually(lambda: other.logged("keys read", kids=["new"]), "not read")
        told = await refused_plain(world, other, f"?project_id={APOLLO}&ticket={ticket}", {})
        assert told == (401, "unauthorized")
        async with world.http.ws_connect(
            f"{other.url}{WS_PATH}?project_id={APOLLO}&ticket={good}"
        ) as socket:
            assert (await Client(socket).next())["type"] == "reconnect"
        await assert_flows(world, stays)
        await renewed.until(lambda frame: frame["type"] == "cache_invalidate")


async def test_a_changed_secret_of_a_file_ends_what_the_former_admitted(
    world: World, tmp_path: Path
) -> None:
    def document(secret: str, **more: str) -> str:
        key = jwt.get_algorithm_by_name("HS256").to_jwk(secret, as_dict=True)
        return json.dumps({"keys": [{**key, **more}]})

    path = tmp_path / "keys.json"
    path.write_text(document(SECRET))
    await world.listener()
    gateway = await world.gateway(JWT_SECRET="", JWT_KEYS_FILE=str(path))
    bearer = jwt.encode({"sub": ADA, "exp": 4_000_000_000}, SECRET, "HS256")
    async with (
        opened_by(world, gateway, bearer) as plain,
        opened_by(world, gateway, bearer, v1=True) as v1,
    ):
        path.write_text(document(SECRET, kid="named now"))
        await eventually(lambda: gateway.logged("keys read", kids=["named now"]), "not read")
        await asyncio.sleep(0.6)  # longer than between two looks at the sockets
        await assert_flows(world, plain)
        path.write_text(document(OTHER_SECRET))
        assert (await v1.until(lambda frame: frame["type"] == "error"))[-1][
            "code"
        ] == "unauthorized"
        assert await v1.closed() == 4401
        assert await plain.closed() == 4401


@pytest.mark.parametrize(
    "changed",
    [
        {"JWT_SECRET": OTHER_SECRET},
        {"JWT_ISSUER": "another"},
        {"JWT_AUDIENCE": "another"},
    ],
    ids=["secret", "issuer", "audience"],
)
async def test_a_ticket_does_not_outlive_the_settings_that_it_was_issued_by(
    world: World, changed: dict[str, Any]
) -> None:
    await world.listener()
    before = await world.gateway()
    bearer = jwt.encode({"sub": ADA, "exp": 4_000_000_000}, SECRET, "HS256")
    ticket, good = [await ticket_by(world, before, bearer) for _ in range(2)]
    after = await world.gateway(**changed)
    told = await refused_plain(world, after, f"?project_id={APOLLO}&ticket={ticket}", {})
    assert told == (401, "unauthorized")
    same = await world.gateway()
    async with world.http.ws_connect(
        f"{same.url}{WS_PATH}?project_id={APOLLO}&ticket={good}"
    ) as socket:
        assert (await Client(socket).next())["type"] == "reconnect"

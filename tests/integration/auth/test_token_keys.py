"""Where tokens and the keys that verify them come from, on a running gateway."""

import asyncio
from pathlib import Path
from typing import Final

import aiohttp
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from deploy.dev.servers import free_port
from tests.support.demo_data import ADA, APOLLO
from tests.support.handshakes import UPGRADE, refused_plain, refused_v1
from tests.support.inspection import metrics_of
from tests.support.key_server import NEW, OLD, KeyServer, jwks, signed
from tests.support.processes import SECRET, WS_PATH, Client, Part, eventually, token
from tests.support.world import World

QUERY: Final = f"?project_id={APOLLO}"


async def outcome(world: World, gateway: Part, bearer: str) -> int:
    """101, or the status of the refusal."""
    return await opened(world, gateway, {"Authorization": f"Bearer {bearer}"})


async def opened(
    world: World, gateway: Part, headers: dict[str, str], query: str = QUERY
) -> int:
    url = f"{gateway.url}{WS_PATH}{query}"
    try:
        async with world.http.ws_connect(url, headers=headers) as socket:
            assert (await Client(socket).next())["type"] == "reconnect"
            return 101
    except aiohttp.WSServerHandshakeError as refused:
        return refused.status


async def test_keys_of_a_url_rotate_without_a_restart(
    world: World, key_server: KeyServer
) -> None:
    await world.listener()
    gateway = await world.gateway(
        JWT_SECRET="", JWT_JWKS_URL=key_server.url, JWT_JWKS_REFRESH_SECONDS="1"
    )
    assert await outcome(world, gateway, signed(OLD, "old")) == 101
    assert await outcome(world, gateway, signed(NEW, "old")) == 401
    assert await outcome(world, gateway, token(ADA)) == 401
    key_server.document = jwks(old=OLD, new=NEW)
    await eventually(lambda: gateway.logged("keys read", kids=["old", "new"]), "not read")
    assert await outcome(world, gateway, signed(NEW, "new")) == 101
    assert await outcome(world, gateway, signed(OLD, "old")) == 101
    key_server.document = jwks(new=NEW)
    await eventually(lambda: gateway.logged("keys read", kids=["new"]), "not read")
    assert await outcome(world, gateway, signed(OLD, "old")) == 401
    await gateway.ready(world.http, keys="ok")


async def test_an_unknown_kid_is_looked_up_at_once_but_not_each_time(
    world: World, key_server: KeyServer
) -> None:
    await world.listener()
    gateway = await world.gateway(JWT_SECRET="", JWT_JWKS_URL=key_server.url)
    await gateway.ready(world.http, keys="ok")
    key_server.document = jwks(old=OLD, new=NEW)
    await asyncio.sleep(5)  # the least time between two looks
    assert await outcome(world, gateway, signed(NEW, "new")) == 101
    assert key_server.asked == 2
    for number in range(20):
        assert await outcome(world, gateway, signed(NEW, f"x{number}")) == 401
    assert key_server.asked == 2


@pytest.mark.parametrize("status", [500, 302])
async def test_old_keys_count_while_the_url_is_away(
    world: World, key_server: KeyServer, status: int
) -> None:
    await world.listener()
    gateway = await world.gateway(
        JWT_SECRET="", JWT_JWKS_URL=key_server.url, JWT_JWKS_REFRESH_SECONDS="1"
    )
    key_server.status = status
    await gateway.ready(world.http, keys="degraded")
    reason = f"the response has status {status}"
    await eventually(lambda: gateway.logged("keys could not be read", reason=reason), reason)
    assert await outcome(world, gateway, signed(OLD, "old")) == 101
    # whether this one is genuine, nobody can say now
    assert await outcome(world, gateway, signed(NEW, "new")) == 503
    assert await refused_v1(world, gateway, QUERY, signed(NEW, "new")) == (1013, "unavailable")
    key_server.status = 200
    await gateway.ready(world.http, keys="ok")


@pytest.mark.parametrize("document", [b"x" * 300_000, b'{"keys":[]}'], ids=["long", "no key"])
async def test_without_any_key_the_gateway_is_not_ready(
    world: World, key_server: KeyServer, document: bytes
) -> None:
    good, key_server.document = key_server.document, document
    await world.listener()
    gateway = await world.gateway(
        ready=False, JWT_SECRET="", JWT_JWKS_URL=key_server.url, JWT_JWKS_REFRESH_SECONDS="1"
    )
    await gateway.ready(world.http, status=503, redis=True, keys="missing")
    assert await outcome(world, gateway, signed(OLD, "old")) == 503
    key_server.document = good
    await gateway.ready(world.http, keys="ok")
    assert await outcome(world, gateway, signed(OLD, "old")) == 101


async def test_a_key_server_that_can_not_be_reached_is_named(world: World) -> None:
    await world.listener()
    port = free_port()
    gateway = await world.gateway(
        ready=False, JWT_SECRET="", JWT_JWKS_URL=f"http://localhost:{port}/secret-path"
    )
    await gateway.ready(world.http, status=503, keys="missing")
    said = "keys could not be read"
    await eventually(lambda: gateway.logged(said), said)
    [line] = [line for line in gateway.lines if line["message"] == said]
    assert f"localhost:{port}" in line["reason"]
    assert "secret-path" not in "".join(gateway.raw_lines)


async def test_a_file_of_keys_is_read_again_when_it_changes(
    world: World, tmp_path: Path
) -> None:
    path = tmp_path / "keys.json"
    path.write_bytes(jwks(old=OLD))
    await world.listener()
    gateway = await world.gateway(JWT_SECRET="", JWT_KEYS_FILE=str(path))
    assert await outcome(world, gateway, signed(OLD, "old")) == 101
    path.write_bytes(jwks(new=NEW))
    await eventually(lambda: gateway.logged("keys read", kids=["new"]), "not read")
    assert await outcome(world, gateway, signed(NEW, "new")) == 101
    assert await outcome(world, gateway, signed(OLD, "old")) == 401
    path.unlink()
    await gateway.ready(world.http, keys="degraded")
    assert await outcome(world, gateway, signed(NEW, "new")) == 101


async def test_a_public_key_verifies_and_is_no_secret(world: World) -> None:
    pem = OLD.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    await world.listener()
    gateway = await world.gateway(JWT_SECRET="", JWT_PUBLIC_KEY=pem.decode())
    assert await outcome(world, gateway, signed(OLD)) == 101
    assert await outcome(world, gateway, signed(NEW)) == 401
    assert await outcome(world, gateway, token(ADA)) == 401


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"JWT_SECRET": ""}, "exactly one must be set, not none"),
        ({"JWT_KEYS_FILE": "/nowhere"}, "set, not JWT_SECRET and JWT_KEYS_FILE"),
        ({"JWT_SECRET": "", "JWT_KEYS_FILE": "/nowhere"}, "can't be read: No such file"),
        ({"JWT_SECRET": "", "JWT_KEYS_FILE": __file__}, "is not JSON"),
        ({"JWT_ALGORITHMS": "RS256"}, "JWT_SECRET supports none of the allowed algorithms"),
    ],
    ids=["none", "two", "no file", "no set", "algorithm"],
)
async def test_keys_that_can_not_be_used_are_refused_at_start(
    world: World, settings: dict[str, str], told: str
) -> None:
    code, _, errors = await world.command("gateway", **settings)
    assert code == 2
    assert told in errors
    assert SECRET not in errors


async def test_a_cookie_counts_on_pages_of_this_host_and_of_friends_only(world: World) -> None:
    await world.listener()
    gateway = await world.gateway(ALLOWED_ORIGINS="*.friend.test, https://other.test")
    cookie = {"Cookie": f"theme=dark; access_token={token(ADA)}"}
    for origin, told in {
        f"http://127.0.0.1:{gateway.port}": 101,
        f"https://127.0.0.1:{gateway.port}": 101,
        "https://app.friend.test": 101,
        "https://other.test": 101,
        "http://other.test": 403,
        "https://friend.test": 403,
        f"http://127.0.0.1:{gateway.port + 1}": 403,
        "https://evil.test": 403,
        "null": 403,
    }.items():
        assert await opened(world, gateway, {**cookie, "Origin": origin}) == told, origin
    assert await opened(world, gateway, cookie) == 403
    own = {"Origin": gateway.url}
    assert await opened(world, gateway, {**own, "Cookie": "access_token=x"}) == 401
    twice = {**own, "Cookie": f"{cookie['Cookie']}; access_token=x"}
    assert await opened(world, gateway, twice) == 400
    # one of a foreign page that has a token of its own needs no cookie
    header = {**cookie, "Origin": "https://evil.test", "Authorization": f"Bearer {token(ADA)}"}
    assert await opened(world, gateway, header) == 101


async def test_a_v1_client_of_a_foreign_page_is_told_by_close_code(world: World) -> None:
    await world.listener()
    gateway = await world.gateway()
    async with world.http.ws_connect(
        f"{gateway.url}{WS_PATH}{QUERY}",
        headers={"Cookie": f"access_token={token(ADA)}", "Origin": "https://evil.test"},
        protocols=("neverstale.v1",),
    ) as socket:
        client = Client(socket)
        assert (await client.next())["code"] == "forbidden"
        assert await client.closed() == 4403


async def test_the_query_counts_only_where_that_is_switched_on(world: World) -> None:
    await world.listener()
    strict = await world.gateway()
    lax = await world.gateway(ALLOW_QUERY_TOKEN="true")
    query = f"{QUERY}&token={token(ADA)}"
    assert await opened(world, strict, {}, query) == 401
    assert await opened(world, lax, {}, query) == 101
    assert await opened(world, lax, {}, f"{query}&token=x") == 400
    assert await opened(world, lax, {"Authorization": "Bearer x"}, query) == 401


async def test_no_log_line_metric_or_error_has_a_token(world: World) -> None:
    await world.listener()
    gateway = await world.gateway(ALLOW_QUERY_TOKEN="true", LOG_LEVEL="debug")
    bearer = token(ADA)
    bad = bearer[:-4] + "AAAA"
    query = f"{QUERY}&token={bad}"
    requests: list[tuple[str, dict[str, str]]] = [
        (f"{WS_PATH}{query}", UPGRADE),
        (f"{WS_PATH}{QUERY}", {**UPGRADE, "Authorization": f"Bearer {bad}"}),
        (f"{WS_PATH}{QUERY}", {**UPGRADE, "Authorization": f"Basic {bad}"}),
        (f"{WS_PATH}{QUERY}", {**UPGRADE, "Cookie": f"access_token={bad}"}),
        (f"{WS_PATH}{QUERY}", {**UPGRADE, "Sec-WebSocket-Protocol": f"bearer.{bad}"}),
        (f"{WS_PATH}?project_id={bad}", {**UPGRADE, "Authorization": f"Bearer {bearer}"}),
        (f"/nowhere?token={bearer}", {}),
        (f"/healthz?token={bearer}", {}),
    ]
    for path, headers in requests:
        async with world.http.get(gateway.url + path, headers=headers) as response:
            assert "eyJ" not in await response.text()
    for malformed, status in (
        (f"Authorization: Bearer {bearer}\0", b" 400 "),
        (f"Authorization: {bearer * 300}", b" 431 "),
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(f"GET {WS_PATH} HTTP/1.1\r\nHost: x\r\n{malformed}\r\n\r\n".encode())
        assert status in await reader.readline()
        writer.close()
    assert await opened(world, gateway, {}, f"{QUERY}&token={bearer}") == 101
    both = {
        "Authorization": f"Bearer {bearer}",
        "Sec-WebSocket-Protocol": f"x, bearer.{bearer}",
    }
    assert await opened(world, gateway, both, QUERY) == 101
    assert "eyJ" not in await metrics_of(world, gateway)
    await gateway.end()
    assert gateway.logged("malformed request")
    assert "eyJ" not in "".join(gateway.raw_lines)


async def test_bytes_that_are_no_text_are_a_refused_token(world: World) -> None:
    await world.listener()
    gateway = await world.gateway()
    headers = {"Authorization": "Bearer \udcff\udcfe"}
    assert await refused_plain(world, gateway, QUERY, headers) == (401, "unauthorized")

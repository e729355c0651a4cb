"""The status of all processes: as JSON, for the operator alone, and in a terminal."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from tests.support.changes import change
from tests.support.preforked import start_program
from tests.support.processes import HANG_SECONDS, ROOT, Part
from tests.support.servers import Servers
from tests.support.tcp_proxy import Proxy
from tests.support.v1_client import v1
from tests.support.world import World, make_world

KEY = "a key for tests that is long enough"
PATH = "/api/v1/status"
BEARER = {"Authorization": f"Bearer {KEY}"}

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(servers: Servers) -> AsyncIterator[World]:
    """A world with a leader, for all tests of the module."""
    async with make_world(servers) as made:
        await made.listener()
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(world: World) -> Part:
    """A gateway that no test stops, or guesses the key of."""
    return await world.gateway(ADMIN_KEY=KEY)


async def status(world: World, gateway: Part) -> dict[str, Any]:
    async with world.http.get(f"{gateway.url}{PATH}", headers=BEARER) as response:
        assert response.status == 200
        assert response.headers["Cache-Control"] == "no-store"
        body: dict[str, Any] = await response.json()
        return body


async def until(
    world: World, gateway: Part, is_so: Callable[[dict[str, Any]], bool]
) -> dict[str, Any]:
    """Poll the status until it is so, and return it."""
    last: dict[str, Any] = {}
    try:
        async with asyncio.timeout(HANG_SECONDS):
            while not is_so(last := await status(world, gateway)):
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(last) from None
    return last


async def test_the_status_covers_all_processes_until_they_end(
    world: World, gateway: Part
) -> None:
    listener = world.parts[0]
    standby = await world.listener(role="standby")
    ending, other = await world.gateway(ADMIN_KEY=KEY), gateway
    async with (
        world.client(ending, world.apollo, world.ada),
        v1(world, other, world.apollo) as client,
    ):
        assert (await client.next())["type"] == "connected"
        seen = await until(
            world,
            ending,
            lambda found: (
                len(found["gateways"]) == len(found["listeners"]) == 2
                and found["connections"] == 2
                and found["live"]
            ),
        )
        assert seen["leader"].endswith(f":{pid(listener)}")
        assert {one["state"] for one in seen["listeners"]} == {"leader", "standby"}
        [server] = seen["redis_nodes"]
        assert server["address"] == f"127.0.0.1:{world.servers.valkey.port}"
        assert (server["up"], server["slots"], server["replicas"]) == (True, None, 0)
        assert (server["leader"], server["gateways"]) == (True, 2)
        assert server["used_memory_bytes"] > 0
        assert seen["top_channels"][0] == {
            "channel": f"project:{world.apollo}",
            "subscribers": 2,
        }
        assert "gap" in {one["reason"] for one in seen["resets"]}
        await change(world)
        assert (await client.next())["type"] == "cache_invalidate"
        seen = await until(
            world, other, lambda found: counted(found, "delivered") == 2 and has_times(found)
        )
        assert counted(seen, "events") == 1
        assert seen["version"] == seen["gateways"][0]["version"]
    await ending.end(signal.SIGKILL)
    await standby.end(signal.SIGKILL)
    seen = await until(
        world, other, lambda found: len(found["gateways"]) == len(found["listeners"]) == 1
    )
    assert seen["gateways"][0]["name"].endswith(f":{pid(other)}")


def pid(part: Part) -> int:
    assert part.process is not None
    return part.process.pid


def counted(found: dict[str, Any], name: str) -> float:
    return float(sum(value or 0 for value in found["series"][name]))


def has_times(found: dict[str, Any]) -> bool:
    """Whether the latencies of both halves of the way are known, and plausible."""
    series = found["series"]
    times = [
        max((value for value in series[name] if value is not None), default=-1.0)
        for name in ("publish_p99_ms", "deliver_p99_ms")
    ]
    return all(0 <= value < HANG_SECONDS * 1000 for value in times)


async def test_only_the_operator_sees_the_status(world: World, gateway: Part) -> None:
    other = await world.gateway(ADMIN_KEY=KEY)
    for headers in ({}, {"Authorization": f"Bearer {KEY}x"}, {"Authorization": KEY}):
        async with world.http.get(f"{gateway.url}{PATH}", headers=headers) as response:
            assert response.status == 401
    jar = aiohttp.CookieJar(unsafe=True)  # it would ignore cookies of an IP address
    async with aiohttp.ClientSession(cookie_jar=jar) as browser:
        async with browser.get(f"{gateway.url}/status") as response:
            assert "Admin key" in await response.text()
            policy = response.headers["Content-Security-Policy"]
            assert policy.startswith("default-src 'none'; script-src 'self'; ")
        async with browser.post(f"{gateway.url}/status/login", data={"key": "no"}) as response:
            assert response.status == 401
            assert "This key was refused" in await response.text()
        async with browser.post(
            f"{gateway.url}/status/login",
            data={"key": KEY},
            headers={"X-Forwarded-Proto": "https"},
            allow_redirects=False,
        ) as response:
            assert (response.status, response.headers["Location"]) == (303, "/status")
            cookie = response.headers["Set-Cookie"]
        assert KEY not in cookie
        for attribute in ("HttpOnly", "SameSite=Strict", "Secure", "Max-Age=", "Path=/"):
            assert attribute in cookie
        session = {"Cookie": cookie.partition(";")[0]}
        for one in (gateway, other):  # no gateway remembers it
            async with browser.get(f"{one.url}{PATH}", headers=session) as response:
                assert response.status == 200
            async with browser.get(f"{one.url}/status", headers=session) as response:
                assert "status.js" in await response.text()
        forged = {"Cookie": session["Cookie"][:-3] + "abc"}
        async with browser.get(f"{gateway.url}{PATH}", headers=forged) as response:
            assert response.status == 401
        async with browser.post(f"{gateway.url}/status/logout", allow_redirects=False) as left:
            assert 'neverstale_status=""' in left.headers["Set-Cookie"]
        for name in ("status.js", "status.css"):
            async with browser.get(f"{gateway.url}/status/{name}") as response:
                assert response.status == 200
    assert not any(KEY in line for line in gateway.raw_lines)


async def test_guesses_at_the_form_are_limited(world: World) -> None:
    gateway = await world.gateway(ADMIN_KEY=KEY)
    statuses = []
    for _ in range(40):
        async with world.http.post(
            f"{gateway.url}/status/login", data={"key": "guess"}
        ) as response:
            statuses.append(response.status)
    assert set(statuses) == {401, 429}
    assert statuses[-1] == 429
    async with world.http.get(f"{gateway.url}{PATH}", headers=BEARER) as response:
        assert response.status == 200, "guesses at the form do not shut the operator out"


async def test_without_a_key_there_is_no_status(world: World) -> None:
    gateway = await world.gateway()
    for path in (PATH, "/status"):
        async with world.http.get(f"{gateway.url}{path}") as response:
            assert response.status == 404


async def test_redis_that_is_away_is_said(world: World) -> None:
    proxy = Proxy(world.servers.valkey.port)
    await proxy.start()
    away = f"redis://127.0.0.1:{proxy.port}"
    gateway = await world.gateway(ADMIN_KEY=KEY, REDIS_URL=away)
    await proxy.close()
    async with world.http.get(f"{gateway.url}{PATH}", headers=BEARER) as response:
        assert response.status == 503
    code, _, errors = await world.command("neverstale", "status", REDIS_URL=away)
    assert (code, "Redis does not answer" in errors) == (1, True)


async def test_the_terminal_shows_the_same(world: World, gateway: Part) -> None:
    await until(world, gateway, lambda found: found["live"] and bool(found["gateways"]))
    code, output, errors = await world.command("neverstale", "status")
    assert (code, errors) == (0, "")
    assert output.startswith("state        live\nleader       ")
    words = ("--json", "--gateway", gateway.url)
    code, output, errors = await world.command("neverstale", "status", *words, ADMIN_KEY=KEY)
    assert (code, errors) == (0, "")
    assert json.loads(output)["live"] is True
    for arguments, more, code in (
        (words, {"ADMIN_KEY": ""}, 2),
        (words, {"ADMIN_KEY": f"{KEY}x"}, 1),
        (("--gateway", "http://127.0.0.1:1"), {"ADMIN_KEY": KEY}, 1),
        ((), {"REDIS_URL": ""}, 2),
    ):
        ended, _, errors = await world.command("neverstale", "status", *arguments, **more)
        assert (ended, errors.startswith("neverstale: ")) == (code, True)


async def test_the_terminal_is_kept_up_to_date(world: World) -> None:
    program = await start_program(
        *("neverstale", "status", "--watch", "--json"),
        cwd=ROOT,
        env={**os.environ, **world.environment()},
    )
    assert program.stdout is not None
    async with asyncio.timeout(HANG_SECONDS):
        for _ in range(2):
            assert "leader" in json.loads(await program.stdout.readline())
        program.send_signal(signal.SIGINT)
        assert await program.wait() == 0


async def test_a_status_that_cannot_be_reported_disturbs_nothing(world: World) -> None:
    """The leader and its clients go on, and the log says once what is wrong."""
    name, password = f"status_{world.prefix.strip(':')}", "x" * 40
    async with world.redis() as redis:
        try:
            await redis.execute_command(
                *("ACL", "SETUSER", name, "on", f">{password}", "~*", "&*", "+@all"),
                "-zremrangebyrank",
            )  # type: ignore[no-untyped-call]
            url = world.servers.valkey.url.replace("://", f"://{name}:{password}@")
            gateway = await world.gateway(REDIS_URL=url)
            async with v1(world, gateway, world.apollo) as client:
                assert (await client.next())["type"] == "connected"
                async with asyncio.timeout(HANG_SECONDS):
                    while not gateway.logged("the status is not reported"):
                        await asyncio.sleep(0.05)
                await change(world)
                assert (await client.next())["type"] == "cache_invalidate"
            assert not gateway.logged("redis lost")
        finally:
            await redis.execute_command("ACL", "DELUSER", name)  # type: ignore[no-untyped-call]

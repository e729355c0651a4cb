"""Server-sent events: the frames of a v1 client, and from where it resumes."""

import asyncio

import pytest

from tests.integration.http.connections import connected, request, status, until_closed
from tests.support.changes import change
from tests.support.demo_data import TASK
from tests.support.inspection import connections, metrics_of
from tests.support.processes import HANG_SECONDS, Part, token
from tests.support.stream_client import SSE_PATH, streaming
from tests.support.v1_client import notify, rows, v1
from tests.support.world import World


@pytest.fixture
async def gateway(world: World) -> Part:
    await world.listener()
    return await world.gateway()


async def let_in(world: World) -> None:
    """Ada is a member of Gemini, too."""
    await world.database.execute(
        "insert into project_members (project_id, user_id) values ($1, $2)",
        world.gemini,
        world.ada,
    )


async def test_a_stream_has_the_same_frames_as_a_socket(world: World, gateway: Part) -> None:
    async with (
        streaming(world, gateway, world.apollo) as stream,
        v1(world, gateway, world.apollo) as client,
    ):
        assert (await stream.next())["type"] == (await client.next())["type"] == "connected"
        assert stream.parser.retry_ms is not None
        assert stream.response.headers["Cache-Control"] == "no-store"
        assert stream.response.headers["X-Accel-Buffering"] == "no"
        await change(world)
        frame = await stream.next()
        assert frame == await client.next()
        assert stream.raw[1:] == client.raw[1:]
        assert (frame["data"]["id"], frame["project_id"]) == (TASK, world.apollo)
        assert frame["cursor"] in stream.last_id.split(",")
        assert await connections(world, gateway) == 2
    async with asyncio.timeout(HANG_SECONDS):
        while await connections(world, gateway):
            await asyncio.sleep(0.01)


async def test_a_stream_resumes_all_its_projects_from_its_last_event(
    world: World, gateway: Part
) -> None:
    await let_in(world)
    other = await world.gateway()
    async with streaming(world, gateway, world.apollo, world.gemini) as stream:
        greeting = await stream.next()
        assert greeting["resumed"] == []
        assert set(stream.last_id.split(",")) == set(greeting["cursors"].values())
        await notify(world, "one")
        await notify(world, "two", project_id=world.gemini)
        await rows(stream, "two")
    await notify(world, "three")
    await notify(world, "four", project_id=world.gemini)
    async with streaming(
        world, other, world.apollo, world.gemini, last_id=stream.last_id
    ) as stream:
        greeting = await stream.next()
        assert set(greeting["resumed"]) == set(greeting["cursors"])
        assert len(greeting["resumed"]) == 3
        replayed = {(await stream.next())["data"]["id"] for _ in range(2)}
        assert replayed == {"three", "four"}


async def test_a_stream_resumes_from_the_cursors_in_its_url(
    world: World, gateway: Part
) -> None:
    async with streaming(world, gateway, world.apollo) as stream:
        since = list((await stream.next())["cursors"].values())
    await notify(world, "one")
    async with streaming(world, gateway, world.apollo, since=since) as stream:
        greeting = await stream.next()
        assert set(greeting["resumed"]) == set(greeting["cursors"])
        assert await rows(stream, "one") == ["one"]
        last_id = stream.last_id
    # as a browser's EventSource comes back: the same URL, and what it has seen since
    await notify(world, "two")
    async with streaming(world, gateway, world.apollo, since=since, last_id=last_id) as stream:
        await stream.next()
        assert await rows(stream, "two") == ["two"]


async def test_a_gap_is_a_reset(world: World, gateway: Part) -> None:
    async with streaming(world, gateway, world.apollo) as stream:
        await stream.next()
        last_id = stream.last_id
    async with world.redis() as redis:
        await redis.delete(f"{{{world.prefix}project:{world.apollo}}}:log")
    await notify(world, "one")
    async with streaming(world, gateway, world.apollo, last_id=last_id) as stream:
        greeting = await stream.next()
        assert greeting["resumed"] == [f"user:{world.ada}"]


async def test_a_stream_may_have_no_project(world: World, gateway: Part) -> None:
    async with streaming(world, gateway) as stream:
        assert set((await stream.next())["cursors"]) == {f"user:{world.ada}"}
        await let_in(world)
        assert (await stream.next())["access"] is True


async def test_projects_that_are_refused_are_told_of(world: World, gateway: Part) -> None:
    async with streaming(world, gateway, "x", world.gemini, world.apollo.upper()) as stream:
        greeting = await stream.next()
        assert set(greeting["cursors"]) == {f"project:{world.apollo}", f"user:{world.ada}"}
        refused = {}
        for _ in range(2):
            frame = await stream.next()
            refused[frame["project_id"]] = (frame["type"], frame["code"])
        assert refused == {
            "x": ("error", "bad_request"),
            world.gemini: ("error", "forbidden"),
        }
        await notify(world, "one")
        assert await rows(stream, "one") == ["one"]


async def test_a_stream_has_so_many_projects(world: World) -> None:
    await world.listener()
    await let_in(world)
    gateway = await world.gateway(MAX_PROJECTS_PER_SOCKET="1")
    async with streaming(world, gateway, world.apollo, world.gemini) as stream:
        assert f"project:{world.gemini}" not in (await stream.next())["cursors"]
        error = await stream.next()
        assert (error["code"], error["project_id"]) == (
            "too_many_subscriptions",
            world.gemini,
        )


async def whole(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes
) -> None:
    writer.write(head)


async def in_pieces(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes
) -> None:
    for start in range(0, len(head), 7):
        writer.write(head[start : start + 7])
        await asyncio.sleep(0)


async def after_another(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes
) -> None:
    writer.write(request("GET", "/healthz"))
    await reader.readuntil(b'{"status": "ok"}')
    writer.write(head)


@pytest.mark.parametrize("send", [whole, in_pieces, after_another])
@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_a_stream_is_opened_however_its_request_comes(
    world: World, gateway: Part, send: object, version: str
) -> None:
    bearer = f"Authorization: Bearer {token(world.ada)}"
    path = f"{SSE_PATH}?project_id={world.apollo}"
    keep = "Connection: keep-alive"  # HTTP/1.0 closes otherwise
    head = request("GET", path, bearer, keep, version=version)
    async with connected(gateway.port) as (reader, writer):
        assert callable(send)
        await send(reader, writer, head)
        async with asyncio.timeout(HANG_SECONDS):
            answer = await reader.readuntil(b"\r\n\r\n")
            assert status(answer) == 200
            assert b"Connection: close" in answer
            await reader.readuntil(b'"connected"')
            lines = (await metrics_of(world, gateway)).splitlines()
            assert "neverstale_http_connections 1.0" in lines, "only the one that asks"
            await notify(world, "one")
            await reader.readuntil(b'"id":"one"')
            writer.write(request("GET", "/healthz") * 1000)
            await notify(world, "two")
            await reader.readuntil(b'"id":"two"')


async def test_what_is_no_request_for_a_stream_is_refused_with_its_status(
    world: World, gateway: Part
) -> None:
    bearer, closes = f"Authorization: Bearer {token(world.ada)}", "Connection: close"
    query = f"?project_id={world.apollo}"
    cases = {
        "no token": (request("GET", SSE_PATH + query), 401),
        "a bad token": (request("GET", SSE_PATH + query, "Authorization: Bearer x"), 401),
        "no access": (request("GET", f"{SSE_PATH}?project_id={world.gemini}", bearer), 403),
        "a malformed project": (request("GET", f"{SSE_PATH}?project_id=x", bearer), 400),
        "a malformed age": (request("GET", f"{SSE_PATH}{query}&age=x", bearer), 400),
        "another type": (request("GET", SSE_PATH + query, bearer, "Accept: text/html"), 406),
        "HEAD": (request("HEAD", SSE_PATH + query, bearer, closes), 405),
        "POST": (request("POST", SSE_PATH + query, bearer, closes, "Content-Length: 0"), 405),
        "a body": (
            request("GET", SSE_PATH, bearer, closes, "Content-Length: 1", body=b"x"),
            400,
        ),
        "an expectation": (
            request("GET", SSE_PATH, bearer, closes, "Expect: 100-continue"),
            417,
        ),
        "long headers": (
            request("GET", SSE_PATH, bearer, *(f"A{n}: {'x' * 8000}" for n in range(5))),
            431,
        ),
        "another path": (request("GET", SSE_PATH + "x", bearer, closes), 404),
    }
    told = {}
    for name, (sent, _) in cases.items():
        async with connected(gateway.port) as (reader, writer):
            writer.write(sent)
            told[name] = status(await until_closed(reader))
    assert told == {name: expected for name, (_, expected) in cases.items()}
    assert await connections(world, gateway) == 0

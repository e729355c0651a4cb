"""Who may open a stream of server-sent events, and whose pages may read it."""

import asyncio

import pytest

from tests.support.inspection import connections
from tests.support.processes import HANG_SECONDS, Part, token
from tests.support.stream_client import SSE_PATH, StreamClient, refused_stream, streaming
from tests.support.v1_client import v1
from tests.support.world import World

FRIEND = "https://app.test"
MOST_TRIES = 10


@pytest.fixture
async def gateway(world: World) -> Part:
    await world.listener()
    return await world.gateway(ALLOWED_ORIGINS=FRIEND, MAX_SOCKETS_PER_USER="2")


def by_cookie(world: World, **headers: str) -> dict[str, str]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return {"Cookie": f"access_token={token(world.ada)}", **named}


async def test_a_cookie_counts_from_pages_that_may_read_the_answer(
    world: World, gateway: Part
) -> None:
    url = f"{gateway.url}{SSE_PATH}?project_id={world.apollo}"
    for headers in (
        by_cookie(world, Origin=FRIEND),
        by_cookie(world, Origin=gateway.url),
        by_cookie(world, Sec_Fetch_Site="same-origin"),
    ):
        async with world.http.get(url, headers=headers) as response:
            assert response.status == 200
            origin = response.headers.get("Access-Control-Allow-Origin")
            assert origin == headers.get("Origin")
    for headers in (
        by_cookie(world),
        by_cookie(world, Origin="https://evil.test"),
        by_cookie(world, Sec_Fetch_Site="cross-site"),
    ):
        told = await refused_stream(world, gateway, f"?project_id={world.apollo}", headers)
        assert told == (403, "forbidden")


async def test_a_page_of_an_allowed_origin_may_send_a_token(
    world: World, gateway: Part
) -> None:
    url = f"{gateway.url}{SSE_PATH}?project_id={world.apollo}"
    for origin in (FRIEND, "https://evil.test"):
        asks = {
            "Origin": origin,
            "Access-Control-Request-Method": "GET",
            "Access-Control-Request-Headers": "authorization,last-event-id",
        }
        async with world.http.options(url, headers=asks) as response:
            assert response.status == 204
            allowed = response.headers.get("Access-Control-Allow-Headers", "").lower()
            is_friend = origin == FRIEND
            assert ("authorization" in allowed) is ("last-event-id" in allowed) is is_friend
        bad = {"Origin": origin, "Authorization": "Bearer x"}
        async with world.http.get(url, headers=bad) as response:
            assert response.status == 401
            assert (response.headers.get("Access-Control-Allow-Origin") == origin) is is_friend


async def test_a_ticket_opens_one_stream(world: World, gateway: Part) -> None:
    async with world.http.post(
        f"{gateway.url}/api/v1/messages/ticket",
        headers={"Authorization": f"Bearer {token(world.ada)}"},
        json={"project_id": world.apollo},
    ) as response:
        ticket = (await response.json())["ticket"]
    query = f"?project_id={world.apollo}&ticket={ticket}"
    async with world.http.get(f"{gateway.url}{SSE_PATH}{query}") as response:
        assert (await StreamClient(response).next())["type"] == "connected"
    assert await refused_stream(world, gateway, query, {}) == (401, "unauthorized")


async def test_streams_and_sockets_of_a_user_are_counted_together(
    world: World, gateway: Part
) -> None:
    good = {"Authorization": f"Bearer {token(world.ada)}"}
    query = f"?project_id={world.apollo}"
    async with v1(world, gateway, world.apollo), streaming(world, gateway, world.apollo):
        told = await refused_stream(world, gateway, query, good)
        assert told == (429, "too_many_connections")
    async with asyncio.timeout(HANG_SECONDS):
        while await connections(world, gateway):
            await asyncio.sleep(0.01)
    async with streaming(world, gateway, world.apollo) as stream:
        await stream.next()


async def test_a_user_to_whom_much_was_replayed_has_to_wait(world: World) -> None:
    await world.listener()
    gateway = await world.gateway(MAX_MESSAGES_PER_SECOND="1", MAX_PROJECTS_PER_SOCKET="1")
    async with streaming(world, gateway, world.apollo) as stream:
        await stream.next()
        last_id = stream.last_id
    await world.database.execute(
        """
        select neverstale.notify('task', 'UPDATE', $1, n::text) from generate_series(1, 300) n
        """,
        world.apollo,
    )
    async with streaming(world, gateway, world.apollo) as follower:
        await follower.next()
        url = f"{gateway.url}{SSE_PATH}?project_id={world.apollo}"
        good = {"Authorization": f"Bearer {token(world.ada)}", "Last-Event-ID": last_id}
        for _ in range(MOST_TRIES):  # on a busy machine the debt may be paid before the second
            async with world.http.get(url, headers=good) as response:
                if response.status == 429:
                    assert (await response.json())["error"]["code"] == "rate_limited"
                    return
                replayed = StreamClient(response)
                await replayed.until(lambda frame: frame.get("data", {}).get("id") == "300")
    raise AssertionError("it was never refused")

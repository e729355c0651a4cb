"""The Python client on real servers: it resumes, reconnects, renews, and ends with a reason."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from typing import Any

import pytest

from deploy.dev.servers import free_port
from neverstale.client import (
    Client,
    Event,
    Message,
    Reset,
    Status,
    Unauthorized,
)
from tests.support.processes import HANG_SECONDS, WS_PATH, Part, token
from tests.support.tcp_proxy import Proxy
from tests.support.v1_client import notify
from tests.support.world import World


@pytest.fixture
async def gateway(world: World) -> Part:
    await world.listener()
    return await world.gateway()


def url(port: int) -> str:
    return f"ws://127.0.0.1:{port}{WS_PATH}"


def follow(world: World, port: int, **options: Any) -> Client:
    """A client of Ada's that follows Apollo, unless the options say otherwise."""
    fixed = {"token": token(world.ada), "projects": [world.apollo], "max_backoff_seconds": 0.5}
    return Client(url(port), **{**fixed, **options})


async def until(client: Client, is_last: Callable[[Message], bool]) -> list[Message]:
    """Take messages up to the first that *is_last* accepts."""
    messages: list[Message] = []
    async with asyncio.timeout(HANG_SECONDS):
        async for message in client:
            messages.append(message)
            if is_last(message):
                return messages
    raise AssertionError(messages)


def of(id_: str) -> Callable[[Message], bool]:
    return lambda message: isinstance(message, Event) and message.id == id_


def live(*projects: str) -> Callable[[Message], bool]:
    return lambda one: isinstance(one, Status) and one.projects == set(projects)


def not_live(message: Message) -> bool:
    return isinstance(message, Status) and not message.live


def resets(messages: list[Message]) -> list[Reset]:
    return [message for message in messages if isinstance(message, Reset)]


async def test_it_continues_from_the_cursors_of_the_last_message(
    world: World, gateway: Part
) -> None:
    async with follow(world, gateway.port) as client:
        messages = await until(client, live(world.apollo))
        assert messages[0] == Reset(project_id=None, reason="gap")
        with suppress(TimeoutError):
            async with asyncio.timeout(0):
                await anext(client)  # a wait that is cancelled loses no message
        await notify(world, "a", "b")
        [event] = await until(client, of("a"))
        assert isinstance(event, Event)
        assert (event.resource, event.action, event.project_id) == (
            "task",
            "UPDATE",
            world.apollo,
        )
        assert event.timestamp.utcoffset() is not None
    await notify(world, "c")
    async with follow(world, gateway.port, cursors=event.cursors) as client:
        messages = await until(client, of("c"))
        assert messages[0] == Status(live=True, projects=frozenset([world.apollo]))
        assert [message.id for message in messages if isinstance(message, Event)] == ["b", "c"]
        assert resets(messages) == []


async def test_it_resumes_when_connections_are_cut_and_is_reset_when_redis_lost_its_data(
    world: World, gateway: Part
) -> None:
    proxy = Proxy(gateway.port)
    await proxy.start()
    async with follow(world, proxy.port) as client:
        await until(client, live(world.apollo))
        for number in range(3):
            proxy.cut()
            await notify(world, f"r{number}")
            messages = await until(client, of(f"r{number}"))
            assert resets(messages) == []
        await proxy.close()
        await until(client, not_live)
        await notify(world, "away")
        await proxy.start()
        messages = await until(client, of("away"))
        assert resets(messages) == []
        assert any(map(live(world.apollo), messages))
        async with world.redis() as redis:  # which loses its data
            await redis.delete(f"{world.prefix}neverstale:state")
        await until(client, lambda message: message in resets([message]))
        await notify(world, "after")
        await until(client, of("after"))
    await proxy.close()


async def test_projects_come_and_go_while_it_is_connected(world: World, gateway: Part) -> None:
    async with follow(world, gateway.port, token=token(world.grace)) as client:
        await until(client, live(world.apollo))
        client.subscribe(world.gemini)
        messages = await until(client, live(world.apollo, world.gemini))
        assert resets(messages) == [Reset(project_id=world.gemini, reason="gap")]
        await notify(world, "g", project_id=world.gemini)
        await until(client, of("g"))
        client.unsubscribe(world.gemini)
        await until(client, live(world.apollo))
        # the gateway may not have read it yet
        for number in count():
            await notify(world, f"g{number}", project_id=world.gemini)
            await notify(world, f"a{number}")
            if not any(map(of(f"g{number}"), await until(client, of(f"a{number}")))):
                break


async def test_it_renews_its_token_on_the_open_socket(world: World, gateway: Part) -> None:
    refreshed = asyncio.Event()

    async def make_token(refresh: bool) -> str:
        if refresh:
            refreshed.set()
            return token(world.ada)
        return token(world.ada, exp=int(time.time()) + 4)

    async with follow(world, gateway.port, token=make_token) as client:
        await until(client, live(world.apollo))
        async with asyncio.timeout(HANG_SECONDS):
            await refreshed.wait()
        await notify(world, "a")
        assert len(await until(client, of("a"))) == 1  # no status: it stayed connected


async def test_a_forbidden_or_revoked_project_is_reset_and_can_be_followed_again(
    world: World, gateway: Part
) -> None:
    member = (world.apollo, world.grace)
    projects = [world.gemini, world.apollo]
    async with follow(world, gateway.port, projects=projects) as client:
        messages = await until(client, live(world.apollo))
        assert resets(messages)[0] == Reset(project_id=world.gemini, reason="forbidden")
    async with follow(
        world, gateway.port, token=token(world.grace), projects=projects
    ) as client:
        await until(client, live(*projects))
        await world.database.execute(
            "delete from project_members where (project_id, user_id) = ($1, $2)", *member
        )
        messages = await until(client, live(world.gemini))
        [*_, last] = resets(messages)
        assert last.project_id == world.apollo
        await notify(world, "secret")
        await notify(world, "own", project_id=world.gemini)
        assert not any(map(of("secret"), await until(client, of("own"))))
        await world.database.execute(
            "insert into project_members (project_id, user_id) values ($1, $2)", *member
        )
        *_, event = await until(client, lambda one: isinstance(one, Event) and one.access)
        assert isinstance(event, Event)
        assert event.project_id == world.apollo
        client.subscribe(world.apollo)
        await until(client, live(*projects))
        await notify(world, "public")
        await until(client, of("public"))


async def test_an_app_that_does_not_read_gets_one_reset(world: World, gateway: Part) -> None:
    async with (
        follow(world, gateway.port, max_messages=5) as slow,
        follow(world, gateway.port) as fast,
    ):
        await until(slow, live(world.apollo))
        await until(fast, live(world.apollo))
        await notify(world, *(f"r{number}" for number in range(20)))
        await until(fast, of("r19"))
        await notify(world, "last")
        messages = await until(slow, of("last"))
        assert len(messages) <= 6
        assert resets(messages) == [Reset(project_id=None, reason="lagged")]
        cursors = messages[-1].cursors
    await notify(world, "next")
    async with follow(world, gateway.port, cursors=cursors) as slow:
        assert resets(await until(slow, of("next"))) == []


async def test_what_ends_it_is_raised_by_the_iteration(world: World, gateway: Part) -> None:
    async def run(source: object) -> None:
        async with follow(world, gateway.port, token=source) as client:
            await until(client, not_live)

    with pytest.raises(Unauthorized, match="token_expired"):
        await run(token(world.ada, exp=1))
    with pytest.raises(Unauthorized):
        await run(lambda _: None)
    with pytest.raises(ZeroDivisionError):  # as it is, not in a group
        async with follow(world, gateway.port):
            raise ZeroDivisionError


async def test_it_keeps_trying_while_nothing_listens_and_logs_no_token(
    caplog: pytest.LogCaptureFixture,
) -> None:
    asked = asyncio.Queue[bool]()

    def make_token(refresh: bool) -> str:
        asked.put_nowait(refresh)
        if asked.qsize() == 1:
            raise OSError("the token service is away")
        return token("somebody")

    client = Client(url(free_port()), token=make_token, max_backoff_seconds=0.01)
    async with asyncio.timeout(HANG_SECONDS), client:
        while asked.qsize() < 5:
            await asyncio.sleep(0.01)
    with pytest.raises(StopAsyncIteration):
        await anext(client)
    assert "the token service is away" in caplog.text
    assert caplog.text.count("cannot connect") == 1
    assert "eyJ" not in caplog.text


@pytest.mark.parametrize(
    "wrong", [{"url": "gateway"}, {"max_messages": 0}, {"max_backoff_seconds": 0}], ids=str
)
def test_wrong_arguments_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Client(**{"url": url(1), "token": "t", **wrong})


def test_one_text_is_no_list_of_projects() -> None:
    with pytest.raises(TypeError, match="several"):
        Client(url(1), token="t", projects="7")

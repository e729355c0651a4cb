"""A client, a gateway or a slow reader that was away gets what it missed, each row once."""

import asyncio
import signal
import socket
from typing import Any

import pytest

from tests.support.changes import assert_flows
from tests.support.handshakes import handshake
from tests.support.processes import HANG_SECONDS, Client, Part, connected
from tests.support.v1_client import notify, rows, v1
from tests.support.world import World

TASK = "7a5c0000-0000-4000-8000-000000000001"


def channel(world: World) -> str:
    return f"project:{world.apollo}"


@pytest.fixture
async def gateway(world: World) -> Part:
    await world.listener()
    return await world.gateway()


async def test_a_returning_client_gets_each_row_that_changed_once(
    world: World, gateway: Part
) -> None:
    async with v1(world, gateway, world.apollo) as client:
        greeting = await client.next()
        assert greeting["resumed"] == []
        await notify(world, "before")
        cursor = (await client.next())["cursor"]
    async with v1(world, gateway, world.apollo) as another:
        await another.next()
        await notify(world, "other", *["hot"] * 20, "last")
        await rows(another, "last")  # so that nothing of it is still on its way
    async with v1(world, gateway, world.apollo, since=cursor) as client:
        greeting = await client.next()
        assert greeting["resumed"] == [channel(world)]
        assert greeting["cursors"][channel(world)] == cursor
        assert sorted(await rows(client, "last")) == ["hot", "last", "other"]
        await notify(world, "live")
        assert await rows(client, "live") == ["live"]


async def test_the_cursor_of_the_last_frame_is_enough(world: World, gateway: Part) -> None:
    async with v1(world, gateway, world.apollo) as client:
        await client.next()
        await notify(world, "a")
        first = (await client.next())["cursor"]
        await notify(world, "b")
        second = (await client.next())["cursor"]
    for cursor, missed in ((first, ["b", "c"]), (second, ["c"])):
        await notify(world, "c")
        async with v1(world, gateway, world.apollo, since=cursor) as client:
            await client.next()
            assert await rows(client, "c") == missed


async def test_a_cursor_that_proves_nothing_is_a_reset(world: World, gateway: Part) -> None:
    async with v1(world, gateway, world.apollo) as client:
        cursor = (await client.next())["cursors"][channel(world)]
    kind, epoch, random, offset = cursor.rsplit(".", 3)
    for forged in (
        f"{kind}.{epoch}.{random}.{int(offset) + 10**9}",
        f"{kind}.{epoch}.other.{offset}",
        f"{kind}.other.{random}.{offset}",
        "garbage",
        cursor.replace(world.apollo, world.gemini),
    ):
        async with v1(world, gateway, world.apollo, since=forged) as client:
            assert (await client.next())["resumed"] == [], forged
            await assert_flows(world, client)


async def test_an_older_place_than_the_log_reaches_back_to_is_a_reset(world: World) -> None:
    world.more["REPLAY_MAX_ROWS"] = "5"
    await world.listener()
    gateway = await world.gateway()
    async with v1(world, gateway, world.apollo) as client:
        await client.next()
        await notify(world, "a")
        cursor = (await client.next())["cursor"]
        await notify(world, *(f"r{n}" for n in range(5)))
        await rows(client, "r4")
    async with v1(world, gateway, world.apollo, since=cursor) as client:
        assert (await client.next())["resumed"] == [channel(world)]
        assert await rows(client, "r4") == [f"r{n}" for n in range(5)]
        await notify(world, "one more")
        await rows(client, "one more")
    async with v1(world, gateway, world.apollo, since=cursor) as client:
        assert (await client.next())["resumed"] == []


async def test_a_page_that_was_just_loaded_is_not_fetched_twice(
    world: World, gateway: Part
) -> None:
    async with v1(world, gateway, world.apollo):
        pass  # the channel has a log from now on
    async with asyncio.timeout(HANG_SECONDS):
        while True:  # until a tick is old enough to tell
            async with v1(world, gateway, world.apollo, age=100) as client:
                greeting = await client.next()
                if greeting["resumed"]:
                    break
                await asyncio.sleep(0.2)
    await notify(world, "a")
    async with v1(world, gateway, world.apollo, age=0) as client:
        greeting = await client.next()
        assert greeting["resumed"] == [channel(world), f"user:{world.ada}"]
        assert "a" in await rows(client, "a")


async def test_a_bad_age_is_refused(world: World, gateway: Part) -> None:
    async with v1(world, gateway, world.apollo, age="soon") as client:
        assert (await client.next())["code"] == "bad_request"
        assert await client.closed() == 4400


async def told(client: Client, kind: str) -> dict[str, Any]:
    """The next frame of that type."""
    return (await client.until(lambda frame: frame["type"] == kind))[-1]


async def test_projects_come_and_go_on_the_live_socket(world: World, gateway: Part) -> None:
    await world.database.execute(
        "insert into project_members (project_id, user_id) values ($1, $2)",
        world.gemini,
        world.ada,
    )
    async with v1(world, gateway) as client:
        assert list((await client.next())["cursors"]) == [f"user:{world.ada}"]
        await client.socket.send_json({"type": "subscribe", "project_id": world.gemini.upper()})
        # the membership's own event may come on user: meanwhile
        answer = await told(client, "subscribed")
        assert answer["resumed"] is False
        assert answer["project_id"] == world.gemini
        await notify(world, "a", project_id=world.gemini)
        *_, event = await client.until(lambda frame: frame.get("resource") == "task")
        cursor = event["cursor"]
        await client.socket.send_json({"type": "unsubscribe", "project_id": world.gemini})
        assert await told(client, "unsubscribed") == {
            "type": "unsubscribed",
            "project_id": world.gemini,
            "reason": "requested",
        }
        await notify(world, "b", project_id=world.gemini)
        await client.socket.send_json(
            {"type": "subscribe", "project_id": world.gemini, "since": cursor}
        )
        answer = await told(client, "subscribed")
        assert (answer["resumed"], answer["cursor"]) == (True, cursor)
        assert await rows(client, "b") == ["b"]


async def test_a_project_that_is_not_theirs_is_not_subscribed_to(
    world: World, gateway: Part
) -> None:
    async with v1(world, gateway) as client:
        await client.next()
        for message, code in (
            ({"project_id": world.gemini}, "forbidden"),
            ({"project_id": "x"}, "bad_request"),
            ({"project_id": world.apollo, "since": 7}, "bad_request"),
        ):
            await client.socket.send_json({"type": "subscribe", **message})
            answer = await client.next()
            assert (answer["type"], answer["code"]) == ("error", code)
            assert answer["project_id"] == message["project_id"]
        await client.socket.send_str('{"type":"ping"}')
        assert await client.next() == {"type": "pong"}


async def test_a_gateway_that_lost_redis_tells_what_was_missed(
    world: World, gateway: Part
) -> None:
    async with v1(world, gateway, world.apollo) as client, world.redis() as redis:
        await client.next()
        for number in range(5):
            await redis.client_kill_filter(_type="pubsub")
            name = f"r{number}"
            await notify(world, name)
            assert await rows(client, name) == [name]


async def test_a_reset_names_the_new_places_and_how_to_spread(
    world: World, gateway: Part
) -> None:
    async with (
        v1(world, gateway, world.apollo) as client,
        world.client(gateway, world.apollo, world.ada) as plain,
    ):
        await client.next()
        await world.database.execute("truncate messages")
        frame = await client.next()
        assert (frame["type"], frame["data"]) == ("reconnect", {"reason": "truncate"})
        assert "project_id" not in frame
        assert frame["spread_ms"] == 4  # two sockets, 2 s for each 1,000
        assert set(frame["cursors"]) == {channel(world), f"user:{world.ada}"}
        frame = await plain.next()
        assert frame == {"type": "reconnect", "data": {"reason": "truncate"}}
        cursor = (await resume(world, gateway))["cursors"][channel(world)]
    await notify(world, "a")
    async with v1(world, gateway, world.apollo, since=cursor) as client:
        await client.next()
        assert await rows(client, "a") == ["a"]


async def resume(world: World, gateway: Part) -> dict[str, Any]:
    async with v1(world, gateway, world.apollo) as client:
        return await client.next()


async def test_a_client_that_has_drained_gets_what_it_missed(
    world: World, gateway: Part
) -> None:
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect(("127.0.0.1", gateway.port))
        slow.sendall(handshake())
        async with v1(world, gateway, world.apollo) as fast:
            await fast.next()
            while "neverstale_slow_clients 1.0" not in await metrics(world, gateway):
                await world.database.execute(
                    "select neverstale.notify('task', 'UPDATE', $1, n::text)"
                    " from generate_series(1, 900) as n",
                    world.apollo,
                )
                await notify(world, "last")
                while (await fast.next())["data"]["id"] != "last":
                    pass
            await notify(world, "missed")
            assert await rows(fast, "missed") == ["missed"]
            seen = await asyncio.to_thread(read_until, slow, b'"missed"')
            assert seen.count(b'"reconnect"') == 1  # the greeting's
            await notify(world, "after")
            await asyncio.to_thread(read_until, slow, b'"after"')


def read_until(reader: socket.socket, end: bytes) -> bytes:
    reader.settimeout(HANG_SECONDS)
    seen = b""
    while end not in seen:
        part = reader.recv(65536)
        assert part, "the slow client was closed"
        seen += part
    return seen


async def metrics(world: World, gateway: Part) -> str:
    async with world.http.get(f"{gateway.url}/metrics") as response:
        return await response.text()


async def test_v1_clients_are_told_when_nobody_tells_of_changes(world: World) -> None:
    listener = await world.listener()
    gateway = await world.gateway()
    async with (
        v1(world, gateway, world.apollo) as client,
        world.client(gateway, world.apollo, world.ada) as plain,
    ):
        await client.next()
        await gateway.ready(world.http, degraded=[])
        await listener.end()
        assert await client.next() == {"type": "status", "live": False}
        await gateway.ready(world.http, degraded=["listener"])
        async with v1(world, gateway, world.apollo) as late:
            assert (await late.next())["type"] == "connected"
            assert await late.next() == {"type": "status", "live": False}
        await notify(world, "a")
        await world.listener()
        frames = [await client.next(), await client.next()]
        assert {"type": "status", "live": True} in frames
        assert "a" in [frame.get("data", {}).get("id") for frame in frames]
        assert (await plain.next())["data"]["id"] == "a"


async def test_a_gateway_that_is_told_to_stop_lets_its_clients_go_spread_out(
    world: World,
) -> None:
    await world.listener()
    gateway = await world.gateway(DRAIN_SECONDS="3")
    async with (
        connected(world.http, gateway, world.apollo, world.ada) as one,
        v1(world, gateway, world.apollo) as two,
    ):
        await one.next()
        cursor = (await two.next())["cursors"][channel(world)]
        assert gateway.process is not None
        gateway.process.send_signal(signal.SIGTERM)
        assert set(await asyncio.gather(one.closed(), two.closed())) == {1012}
        assert await gateway.exited() == 0
    again = await world.gateway()
    async with v1(world, again, world.apollo, since=cursor) as two:
        assert (await two.next())["resumed"] == [channel(world)]


async def test_a_draining_gateway_is_not_ready_and_takes_nobody(world: World) -> None:
    await world.listener()
    gateway = await world.gateway()
    with socket.socket() as deaf:  # its closing is not answered: the drain lasts
        deaf.connect(("127.0.0.1", gateway.port))
        deaf.sendall(handshake())
        await eventually_connected(world, gateway)
        assert gateway.process is not None
        gateway.process.send_signal(signal.SIGTERM)
        await gateway.ready(world.http, status=503, draining=True)
        async with v1(world, gateway, world.apollo) as client:
            assert (await client.next())["code"] == "unavailable"
            assert await client.closed() == 1013
    assert await gateway.exited() == 0


async def eventually_connected(world: World, gateway: Part) -> None:
    async with asyncio.timeout(HANG_SECONDS):
        while "neverstale_connections 1.0" not in await metrics(world, gateway):
            await asyncio.sleep(0.01)


async def test_many_who_resume_at_once_share_the_reads(world: World, gateway: Part) -> None:
    async with v1(world, gateway, world.apollo) as client:
        await client.next()
        await notify(world, "a")
        cursor = (await client.next())["cursor"]
    await notify(world, "b")
    async with world.redis() as redis:
        await redis.client_pause(300)
    clients = []

    async def one() -> None:
        async with v1(world, gateway, world.apollo, since=cursor) as client:
            clients.append(await client.next())
            assert await rows(client, "b") == ["b"]

    before = reads(await metrics(world, gateway))
    await asyncio.gather(*(one() for _ in range(50)))
    assert len(clients) == 50
    assert all(greeting["resumed"] == [channel(world)] for greeting in clients)
    assert reads(await metrics(world, gateway)) - before < 50


def reads(told: str) -> float:
    [line] = [ln for ln in told.splitlines() if ln.startswith("neverstale_log_reads_total ")]
    return float(line.split()[1])


async def test_a_lost_data_set_resets_each_client_at_most_twice(own_world: World) -> None:
    world = own_world
    await world.listener()
    gateway = await world.gateway()
    async with v1(world, gateway, world.apollo) as client:
        await client.next()
        world.servers.valkey.stop()  # it keeps nothing
        world.servers.valkey.start()
        await notify(world, "a")
        resets = 0
        frame = await client.next()
        while frame.get("data", {}).get("id") != "a":
            resets += frame["type"] == "reconnect"
            if resets:
                await notify(world, "a")
            frame = await client.next()
        assert 1 <= resets <= 2

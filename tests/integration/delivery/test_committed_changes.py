"""A committed change reaches exactly the sockets that may hear of it, byte for byte."""

import itertools
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.support.demo_data import ADA, APOLLO, GEMINI, GRACE, TASK
from tests.support.processes import Client, connected
from tests.support.world import World

SPRINT = "59000000-0000-4000-8000-000000000001"
NEW = "00000000-0000-4000-8000-00000000000f"


@dataclass
class Audience:
    """Clients of both projects on both gateways."""

    world: World
    apollo: dict[str, Client] = field(default_factory=dict)
    gemini: dict[str, Client] = field(default_factory=dict)


@pytest.fixture
async def audience(world: World) -> AsyncIterator[Audience]:
    await world.listener()
    gateways = [await world.gateway(), await world.gateway()]
    audience = Audience(world)
    async with AsyncExitStack() as stack:
        for number, gateway in enumerate(gateways, 1):
            for v1 in (False, True):
                name = f"gateway {number} {'v1' if v1 else 'plain'}"
                audience.apollo[name] = await stack.enter_async_context(
                    world.client(gateway, world.apollo, world.ada, v1=v1)
                )
                audience.gemini[name] = await stack.enter_async_context(
                    world.client(gateway, world.gemini, world.grace, v1=v1)
                )
        yield audience


def event(resource: str, action: str, row_id: str, project_id: str) -> dict[str, Any]:
    return {
        "type": "cache_invalidate",
        "resource": resource,
        "action": action,
        "project_id": project_id,
        "data": {
            "resource": resource,
            "id": row_id,
            "action": action,
            "project_id": project_id,
        },
        "channel": f"project:{project_id}",
    }


def without_time(frame: dict[str, Any]) -> dict[str, Any]:
    """The frame without what no test can foresee, whose form is checked here."""
    data = dict(frame["data"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", data.pop("timestamp"))
    rest = {key: value for key, value in frame.items() if key not in ("data", "cursor")}
    assert re.fullmatch(
        re.escape(frame["channel"]) + r"\.[0-9a-f]{16}\.[0-9a-f]{8}\.\d{16}", frame["cursor"]
    )
    return {**rest, "data": data}


@dataclass(frozen=True)
class Step:
    """What is done, and the (resource, action, id) that each project's clients are told."""

    sql: str
    apollo: list[tuple[str, str, str]]
    gemini: list[tuple[str, str, str]] = field(default_factory=list)


MARKS = {APOLLO: NEW[:-1] + "1", GEMINI: NEW[:-1] + "2"}


def life_of(table: str, resource: str, column: str, values: str) -> list[Step]:
    """INSERT, UPDATE, a move to the other project, DELETE there."""
    row = f"where id = '{NEW}'"
    return [
        Step(
            f"insert into {table} (id, project_id, {column})"
            f" values ('{NEW}', '{APOLLO}', {values})",
            [(resource, "INSERT", NEW)],
        ),
        Step(f"update {table} set project_id = project_id {row}", [(resource, "UPDATE", NEW)]),
        Step(
            f"update {table} set project_id = '{GEMINI}' {row}",
            [(resource, "UPDATE", NEW)],
            [(resource, "UPDATE", NEW)],
        ),
        Step(f"delete from {table} {row}", [], [(resource, "DELETE", NEW)]),
    ]


MEMBER = f"{APOLLO}:{ADA}"
STEPS = [
    *life_of("sprints", "sprint", "name", "'Second stage'"),
    *life_of("tasks", "task", "title", "'Count down'"),
    *life_of("messages", "message", "user_id, body", f"'{ADA}', 'Go'"),
    Step(
        f"insert into project_members values ('{APOLLO}', '{ADA}')",
        [("project_members", "INSERT", MEMBER)],
    ),
    Step(
        f"update project_members set role = 'admin' where user_id = '{ADA}'",
        [("project_members", "UPDATE", MEMBER)],
    ),
    Step(
        f"update project_members set project_id = '{GEMINI}' where user_id = '{ADA}'",
        [("project_members", "UPDATE", MEMBER)],
        [("project_members", "UPDATE", f"{GEMINI}:{ADA}")],
    ),
    Step(
        f"delete from project_members where user_id = '{ADA}'",
        [],
        [("project_members", "DELETE", f"{GEMINI}:{ADA}")],
    ),
    Step(
        f"update projects set name = 'Apollo 11' where id = '{APOLLO}'",
        [("project", "UPDATE", APOLLO)],
    ),
    Step(f"insert into projects values ('{NEW}', '{ADA}', 'Mercury')", []),
    Step(f"delete from projects where id = '{NEW}'", []),
    Step(
        f"delete from sprints where id = '{SPRINT}'",  # its task is kept: on delete set null
        [("sprint", "DELETE", SPRINT), ("task", "UPDATE", TASK)],
    ),
]


async def test_every_change_of_every_table_is_told_exactly(audience: Audience) -> None:
    world = audience.world
    for project_id, mark in MARKS.items():
        await world.database.execute(
            "insert into sprints (id, project_id, name) values ($1, $2, 'mark')",
            mark,
            project_id,
        )
    for step in [Step("select 1", []), *STEPS]:
        await world.database.execute(step.sql)
        for mark in MARKS.values():
            await world.database.execute("update sprints set name = 'mark' where id = $1", mark)
        for clients, project_id, expected in (
            (audience.apollo, APOLLO, step.apollo),
            (audience.gemini, GEMINI, step.gemini),
        ):
            await assert_told(clients, project_id, expected, step.sql)


async def assert_told(
    clients: dict[str, Client], project_id: str, expected: list[tuple[str, str, str]], sql: str
) -> None:
    """All clients of a project got the same bytes: exactly these events, up to the mark."""
    wanted = [event(*row, project_id) for row in expected]
    raws = []
    for name, client in clients.items():
        client.raw.clear()
        frames = await client.until(
            lambda frame: (
                (frame.get("action"), frame["data"].get("id")) == ("UPDATE", MARKS[project_id])
            )
        )
        of_project = [frame.get("channel") == f"project:{project_id}" for frame in frames]
        told = [without_time(frame) for frame in itertools.compress(frames[:-1], of_project)]
        if sql != "select 1":  # the inserted marks
            assert sorted(told, key=str) == sorted(wanted, key=str), (name, sql)
        raws.append(list(itertools.compress(client.raw, of_project)))
    if "project_members" not in sql and "projects" not in sql:
        # after those access is asked anew: what is replayed then has another timestamp
        assert all(raw == raws[0] for raw in raws), sql


async def test_a_deleted_project_is_told_to_its_users_whose_access_ends(
    audience: Audience,
) -> None:
    await audience.world.database.execute("delete from projects where id = $1", APOLLO)
    wanted = {**event("project", "DELETE", APOLLO, APOLLO), "channel": f"user:{ADA}"}
    for name, client in audience.apollo.items():
        assert without_time(await client.next()) == wanted, name
        assert await client.closed() == 4403, name
    for client in audience.gemini.values():  # Grace was a member
        frame = await client.until(lambda frame: frame.get("resource") == "project_members")
        assert frame[-1]["channel"] == f"user:{GRACE}"
        await assert_flows_in_gemini(audience.world, client)


async def assert_flows_in_gemini(world: World, client: Client) -> None:
    """Its own project goes on."""
    mark = MARKS[GEMINI]
    await world.database.execute(
        "insert into sprints (id, project_id, name) values ($1, $2, 'mark')"
        " on conflict (id) do update set name = 'mark'",
        mark,
        GEMINI,
    )
    await client.until(lambda frame: frame["data"].get("id") == mark)


async def test_a_rolled_back_change_is_not_told(audience: Audience) -> None:
    database = audience.world.database
    rollback = database.transaction()
    await rollback.start()
    await database.execute("update tasks set title = 'never' where id = $1", TASK)
    await rollback.rollback()
    await database.execute("update tasks set title = 'kept' where id = $1", TASK)
    await database.execute("update sprints set name = 'last' where id = $1", SPRINT)
    for client in audience.apollo.values():
        told = [(await client.next())["data"]["id"] for _ in range(2)]
        assert told == [TASK, SPRINT]


async def test_truncate_resets_everybody(audience: Audience) -> None:
    await audience.world.database.execute("truncate messages")
    for clients in (audience.apollo, audience.gemini):
        for name, client in clients.items():
            frame = await client.next()
            assert frame["type"] == "reconnect"
            assert frame["data"] == {"reason": "truncate"}
            assert "project_id" not in frame
            assert ("cursors" in frame) == ("v1" in name)


async def test_a_project_with_more_changes_than_its_log_holds_is_told_once(
    world: World,
) -> None:
    await world.listener(REPLAY_MAX_ROWS="10")
    gateway = await world.gateway()
    async with world.client(gateway, world.apollo, world.ada, v1=True) as client:
        await world.database.execute(
            "insert into tasks (project_id, title) select $1, '' from generate_series(1, 11)",
            world.apollo,
        )
        frame = await client.next()
        assert frame["type"] == "reconnect"
        assert frame["data"] == {"reason": "bulk_change"}
        assert frame["project_id"] == world.apollo
        assert list(frame["cursors"]) == [f"project:{world.apollo}"]
        await world.database.execute("update tasks set title = 'one' where id = $1", TASK)
        assert (await client.next())["data"]["id"] == TASK


async def test_connected_names_the_place_from_which_frames_follow(world: World) -> None:
    await world.listener()
    gateway = await world.gateway()
    async with (
        world.client(gateway, world.apollo, world.ada),
        world.client(gateway, world.apollo, world.ada) as plain,
    ):
        await world.database.execute("update tasks set title = 'a' where id = $1", TASK)
        cursor = (await plain.next())["cursor"]
        async with connected(world.http, gateway, world.apollo, world.ada, v1=True) as late:
            greeting = await late.next()
            users = {f"user:{world.ada}": greeting["cursors"][f"user:{world.ada}"]}
            assert greeting == {
                "type": "connected",
                "cursors": {f"project:{world.apollo}": cursor, **users},
                "resumed": [],
                "heartbeat": 30,
            }


async def test_a_v1_client_is_answered(world: World) -> None:
    await world.listener()
    gateway = await world.gateway()
    async with world.client(gateway, world.apollo, world.ada, v1=True) as client:
        await client.socket.send_str('{"type":"ping"}')
        assert await client.next() == {"type": "pong"}
        for bad in ("no json", "[]", '{"type":1}', '{"type":"nonsense"}'):
            await client.socket.send_str(bad)
            answer = await client.next()
            assert (answer["type"], answer["code"]) == ("error", "bad_request")


async def test_two_prefixes_on_one_redis_do_not_hear_each_other(world: World) -> None:
    await world.listener()
    mine, other = await world.gateway(), await world.gateway(ready=False, REDIS_PREFIX="other:")
    await other.ready(world.http, status=503, redis=False)
    async with world.client(mine, world.apollo, world.ada) as told:
        await world.database.execute("update tasks set title = 'a' where id = $1", TASK)
        assert (await told.next())["type"] == "cache_invalidate"
        async with world.redis() as client:
            assert await client.exists(f"{world.prefix}neverstale:state")
            assert await client.exists(f"{{{world.prefix}project:{world.apollo}}}:log")
            assert not await client.exists(
                "neverstale:state", f"{{project:{world.apollo}}}:log"
            )

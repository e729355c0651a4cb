"""Events that may change their user's access are marked, whatever the tables are called."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import Client, Part, connected
from tests.support.v1_client import v1
from tests.support.world import World

SCHEMA = """
create table workspaces (id uuid primary key, owner_id uuid, name text);
create table team_members (
    id bigint generated always as identity primary key,
    workspace_id uuid not null references workspaces on delete cascade,
    user_id uuid not null
);
"""
CONFIG = """
[[watch]]
table = "workspaces"
resource = "workspace"
id = "id"
project = "id"
user = "owner_id"
[[watch]]
table = "team_members"
resource = "team_members"
id = "id"
project = "workspace_id"
user = "user_id"
[access]
query = '''
with asked (workspace_id, user_id) as (
    select * from unnest($1::text[]::uuid[], $2::text[]::uuid[]))
select id, owner_id from workspaces join asked on id = workspace_id and owner_id = asked.user_id
union all
select workspace_id, user_id from team_members join asked using (workspace_id, user_id)'''
members = '''
select id, owner_id from workspaces where id = any ($1::text[]::uuid[]) union all
select workspace_id, user_id from team_members where workspace_id = any ($1::text[]::uuid[])'''
"""
HOME = "40e00000-0000-4000-8000-000000000001"  # Ada's own
TEAM = "7ea00000-0000-4000-8000-000000000002"  # Grace's, Ada is a member
JOIN = "insert into team_members (workspace_id, user_id) values ($1, $2)"
LEAVE = "delete from team_members where workspace_id = $1 and user_id = $2"


@pytest.fixture
async def gateway(world: World, tmp_path: Path) -> Part:
    await world.database.execute(SCHEMA)
    await world.database.executemany(
        "insert into workspaces values ($1, $2, 'w')", [(HOME, world.ada), (TEAM, world.grace)]
    )
    await world.database.execute(JOIN, TEAM, world.ada)
    config = tmp_path / "invalidation.toml"
    config.write_text(CONFIG)
    world.more["NEVERSTALE_CONFIG"] = str(config)
    assert await world.install() == 0
    await world.listener()
    return await world.gateway()


async def changed(client: Client) -> dict[str, Any]:
    """The next event on the channel of Ada's own."""
    [*_, frame] = await client.until(lambda frame: frame.get("channel", "").startswith("user:"))
    return frame


def short(frame: dict[str, Any]) -> tuple[str, str, str, bool]:
    return frame["resource"], frame["action"], frame["project_id"], frame.get("access", False)


async def subscribe(client: Client, workspace: str) -> str:
    """The type of the answer, or the code of the error."""
    await client.socket.send_json({"type": "subscribe", "project_id": workspace})
    [*_, answer] = await client.until(lambda frame: frame["type"] in ("subscribed", "error"))
    return str(answer.get("code", answer["type"]))


async def test_a_user_who_regains_access_subscribes_again(world: World, gateway: Part) -> None:
    async with (
        v1(world, gateway, HOME) as client,
        connected(world.http, gateway, HOME, world.ada) as plain,
    ):
        for one in (client, plain):
            await one.next()
        await world.database.execute(LEAVE, TEAM, world.ada)
        assert short(await changed(client)) == ("team_members", "DELETE", TEAM, True)
        assert await subscribe(client, TEAM) == "forbidden"
        await world.database.execute(JOIN, TEAM, world.ada)
        assert short(await changed(client)) == ("team_members", "INSERT", TEAM, True)
        assert await subscribe(client, TEAM) == "subscribed"
        for action in ("DELETE", "INSERT"):
            assert short(await changed(plain)) == ("team_members", action, TEAM, True)
            frame = await plain.next()
            assert frame["data"] == {"reason": "access_changed"}
            assert frame["project_id"] == TEAM


async def test_a_user_who_gets_a_new_workspace_subscribes_to_it(
    world: World, gateway: Part
) -> None:
    made = "9e300000-0000-4000-8000-000000000003"
    async with (
        v1(world, gateway, HOME) as client,
        connected(world.http, gateway, HOME, world.ada) as plain,
    ):
        for one in (client, plain):
            await one.next()
        assert await subscribe(client, made) == "forbidden"
        await world.database.execute("insert into workspaces values ($1, $2)", made, world.ada)
        for one in (client, plain):
            assert short(await changed(one)) == ("workspace", "INSERT", made, True)
        assert (await plain.next())["data"] == {"reason": "access_changed"}
        assert await subscribe(client, made) == "subscribed"

        await world.database.execute("update workspaces set name = 'x' where id = $1", made)
        assert short(await changed(client)) == ("workspace", "UPDATE", made, False)
        await world.database.execute(
            "update workspaces set owner_id = $2 where id = $1", made, world.grace
        )
        assert short(await changed(client)) == ("workspace", "DELETE", made, True)


@pytest.mark.parametrize("is_raw", [False, True], ids=["notify()", "NOTIFY"])
async def test_an_event_of_another_producer_that_names_a_user_is_marked(
    world: World, gateway: Part, *, is_raw: bool
) -> None:
    async with v1(world, gateway, TEAM) as client:
        await client.next()
        if is_raw:
            event = {"resource": "seat", "action": "UPDATE", "id": "7"}
            payload = json.dumps({**event, "project_id": TEAM, "user_id": world.ada})
            await world.database.execute("select pg_notify('cache_invalidate', $1)", payload)
        else:
            await world.database.execute(
                "select neverstale.notify('seat', 'UPDATE', $1, '7', $2)", TEAM, world.ada
            )
        frames = [await client.next() for _ in range(2)]
        marks = {frame["channel"]: "access" in frame for frame in frames}
        assert marks == {f"user:{world.ada}": True, f"project:{TEAM}": False}


async def test_a_replayed_event_has_its_mark(world: World, gateway: Part) -> None:
    async with v1(world, gateway, HOME) as client:
        cursors = (await client.next())["cursors"]
    await world.database.execute(LEAVE, TEAM, world.ada)
    async with v1(world, gateway, HOME, since=list(cursors.values())) as client:
        assert f"user:{world.ada}" in (await client.next())["resumed"]
        assert short(await changed(client)) == ("team_members", "DELETE", TEAM, True)

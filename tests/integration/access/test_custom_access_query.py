"""Queries of one's own that cast more narrowly than ids are checked."""

import asyncio
from pathlib import Path

import aiohttp
import pytest

from tests.support.processes import Client, Part, connected
from tests.support.world import World

SCHEMA = """
create table boards (id int primary key, owner text not null, name text);
insert into boards values (1, 'ada', 'one');
"""
CONFIG = """
[[watch]]
table = "boards"
resource = "board"
id = "id"
project = "id"
user = "owner"
[access]
project_type = "bigint"
user_type = "text"
query = '''
select asked.board, asked.owner from unnest($1::text[], $2::text[]) as asked (board, owner)
  join boards on boards.id = asked.board::int and boards.owner = asked.owner'''
members = "select id, owner from boards where id = any ($1::text[]::int[])"
"""
TOO_MANY = "99999999999"


@pytest.fixture
async def gateway(world: World, tmp_path: Path) -> Part:
    await world.database.execute(SCHEMA)
    config = tmp_path / "invalidation.toml"
    config.write_text(CONFIG)
    world.more["NEVERSTALE_CONFIG"] = str(config)
    assert await world.install() == 0
    await world.listener()
    return await world.gateway()


async def status(world: World, gateway: Part, board: str) -> int:
    try:
        async with connected(world.http, gateway, board, "ada"):
            return 101
    except aiohttp.WSServerHandshakeError as exc:
        return exc.status


async def test_whoever_is_asked_for_beside_it_may_come_in(world: World, gateway: Part) -> None:
    boards = ["1", TOO_MANY, "2", "1", TOO_MANY, "1"]
    statuses = await asyncio.gather(*(status(world, gateway, board) for board in boards))
    assert statuses == [101, 503, 403, 101, 503, 101]


async def test_a_change_of_it_costs_a_reset_and_not_the_listener(
    world: World, gateway: Part
) -> None:
    async with connected(world.http, gateway, "1", "ada", v1=True) as client:
        assert (await client.next())["type"] == "connected"
        await world.database.execute(
            "select neverstale.notify('board', 'UPDATE', $1, '1')", TOO_MANY
        )
        assert await told(client) == "reconnect"
        await world.database.execute("update boards set name = 'two'")
        assert await told(client) == "cache_invalidate"


async def told(client: Client) -> str:
    frames = await client.until(
        lambda frame: frame["type"] in ("reconnect", "cache_invalidate")
    )
    return str(frames[-1]["type"])

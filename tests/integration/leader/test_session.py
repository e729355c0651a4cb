import asyncio

from listener.leader.session import open_links
from tests.support.processes import HANG_SECONDS
from tests.support.world import World


async def test_a_standbys_polls_and_heartbeats_share_one_connection(world: World) -> None:
    async with open_links(world.database_url) as (session, _):
        assert all(await asyncio.gather(*(session.try_lead() for _ in range(50))))


async def test_only_the_holder_of_the_lock_is_ended_and_by_its_own_role(world: World) -> None:
    name = f"other_{world.database_url.rpartition('_')[2]}"
    await world.database.execute(f"create role {name} login")
    other_url = world.database_url.replace("postgres@", f"{name}@")
    async with (
        open_links(world.database_url) as (leader, _),
        open_links(world.database_url) as (standby, _),
        open_links(other_url) as (other, _),
    ):
        assert await standby.leader_pid() is None
        assert await leader.try_lead()
        pid = await standby.leader_pid()
        assert pid is not None
        assert not await other.end_leader(pid), "PostgreSQL refuses it"
        assert not await standby.end_leader(pid + 1), "another session holds the lock by now"
        assert await standby.leader_pid() == pid
        assert await standby.end_leader(pid)
        await asyncio.wait_for(leader.lost.wait(), HANG_SECONDS)
        while not await standby.try_lead():
            await asyncio.sleep(0.01)


async def test_what_the_database_sets_for_the_app_does_not_bind_us(world: World) -> None:
    name = world.database_url.rpartition("/")[2]
    before = {
        "statement_timeout": "5000",
        "transaction_timeout": "5000",
        "lock_timeout": "5000",
        "idle_session_timeout": "60000",
        "idle_in_transaction_session_timeout": "60000",
        "default_transaction_isolation": "serializable",
    }
    for setting, value in before.items():
        if await world.database.fetch("select from pg_settings where name = $1", setting):
            await world.database.execute(f"alter database {name} set {setting} = '{value}'")
    async with open_links(world.database_url) as (_, work):
        rows = await work.fetch(
            "select name, setting from pg_settings where name = any ($1)", list(before)
        )
    assert len(rows) >= len(before) - 1, "transaction_timeout is new in PostgreSQL 17"
    for row in rows:
        expected = "read committed" if row["name"].startswith("default") else "0"
        assert row["setting"] == expected, row["name"]

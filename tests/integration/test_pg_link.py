import asyncio

from listener.pg_link import open_links
from tests.integration.conftest import World
from tests.integration.processes import HANG_SECONDS


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

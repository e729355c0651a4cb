import asyncio

from listener.pg_link import open_links
from tests.integration.conftest import World


async def test_a_standbys_polls_and_heartbeats_share_one_connection(world: World) -> None:
    async with open_links(world.database_url) as (session, _):
        assert all(await asyncio.gather(*(session.try_lead() for _ in range(50))))

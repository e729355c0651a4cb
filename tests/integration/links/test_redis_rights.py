"""The rights in Redis that docs/how-to/redis.md asks for are enough, and none is left out."""

from collections.abc import Awaitable, Callable
from typing import Any

from tests.integration.auth.test_tickets import query, ticket_of
from tests.support.changes import assert_flows
from tests.support.documented import PASSWORD, documented_rights
from tests.support.world import World


async def test_the_documented_rights_in_redis_are_enough(world: World) -> None:
    async with world.redis() as redis:
        command: Callable[..., Awaitable[Any]] = redis.execute_command
        await command("ACL", "LOG", "RESET")  # the server is shared with other tests
        await command(
            "ACL", "SETUSER", "neverstale", "on", f">{PASSWORD}", *documented_rights()
        )
        world.more["REDIS_URL"] = world.servers.valkey.url.replace(
            "redis://", f"redis://neverstale:{PASSWORD}@"
        )
        await world.listener()
        gateway = await world.gateway(ADMIN_KEY=PASSWORD)
        ticket = await ticket_of(world, gateway)
        url = f"{gateway.url}/api/v1/messages/ws{query(world, ticket)}"
        async with (
            world.http.ws_connect(url),
            world.client(gateway, world.apollo, world.ada, v1=True) as client,
        ):
            await assert_flows(world, client)
            async with world.http.post(
                f"{gateway.url}/api/v1/admin/disconnect",
                json={"user_id": world.ada},
                headers={"Authorization": f"Bearer {PASSWORD}"},
            ) as response:
                assert response.status == 200
            assert await client.closed() == 4401
        assert await command("ACL", "LOG") == [], "nothing was denied"
        await command("ACL", "DELUSER", "neverstale")

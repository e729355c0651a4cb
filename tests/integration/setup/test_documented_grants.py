import secrets

import asyncpg

from tests.support.changes import assert_flows
from tests.support.documented import documented_grants
from tests.support.world import World


async def test_the_documented_grants_are_enough(world: World) -> None:
    suffix = secrets.token_hex(4)
    owner, listener, gateway, writer = (
        f"{name}_{suffix}" for name in ("owner", "listener", "gateway", "writer")
    )
    name = world.database_url.rpartition("/")[2]
    await world.command("listener", "uninstall")
    for role in (owner, listener, gateway, writer):
        await world.database.execute(f"create role {role} login")
    await world.database.execute(f"grant create on database {name} to {owner}")
    for table in ("users", "projects", "project_members", "sprints", "tasks", "messages"):
        await world.database.execute(f"alter table {table} owner to {owner}")
    await world.database.execute(f"grant select, update on tasks to {writer}")

    def as_role(role: str) -> str:
        return world.database_url.replace("postgres@", f"{role}@")

    code, _, errors = await world.command("listener", "install", DATABASE_URL=as_role(owner))
    assert (code, errors) == (0, "")
    refused = await world.listener(role=None, DATABASE_URL=as_role(listener))
    assert await refused.exited() == 1
    assert "see the grants in docs/how-to/postgresql-roles.md" in refused.raw_lines[-1]
    await world.database.execute(documented_grants(listener, gateway))
    await world.listener(DATABASE_URL=as_role(listener))
    serving = await world.gateway(DATABASE_URL=as_role(gateway))
    async with world.client(serving, world.apollo, world.ada) as client:
        await world.database.close()
        world.database = await asyncpg.connect(as_role(writer))
        await assert_flows(world, client)

import re
import secrets

import asyncpg

from tests.integration.conftest import World
from tests.integration.processes import ROOT
from tests.integration.test_failover import assert_flows


def documented_grants(listener: str, gateway: str) -> str:
    """The grants of docs/how-to/postgresql-roles.md, for roles of a test's own."""
    text = (ROOT / "docs" / "how-to" / "postgresql-roles.md").read_text()
    blocks = re.findall(r"```sql\n(.*?)```", text, re.DOTALL)
    [grants] = [block for block in blocks if "grant " in block]
    grants = grants.replace("neverstale_listener", listener)
    return str(grants.replace("neverstale_gateway", gateway))


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

"""Row-level security hides no row from us silently: PostgreSQL refuses, and we say whom."""

from pathlib import Path

import pytest

from tests.integration.capture.test_function_owners import give_tables
from tests.support.changes import assert_flows
from tests.support.documented import documented_grants
from tests.support.processes import connected, eventually
from tests.support.roles import Roles
from tests.support.watches import watch
from tests.support.world import World

SECURED = """
alter table projects enable row level security;
create policy theirs on projects
  using (owner_id = current_setting('app.user')::uuid) with check (true);
create policy all_rows on projects to {everybody} using (true);
"""


@pytest.fixture
def roles(world: World) -> Roles:
    return Roles(world)


async def test_a_listener_or_gateway_from_which_rows_are_hidden_says_so(
    world: World, roles: Roles
) -> None:
    """A policy that lets them see all rows is not enough: who knows what it does tomorrow."""
    listener, gateway = await roles.make("listener"), await roles.make("gateway")
    await world.database.execute(documented_grants(listener, gateway))
    await world.database.execute(SECURED.format(everybody=f"{listener}, {gateway}"))
    refused = await world.listener(role=None, DATABASE_URL=roles.url(listener))
    assert await refused.exited() == 1
    assert "[access] members query failed: query would be affected" in refused.raw_lines[-1]
    code, _, errors = await world.command("neverstale", "check")
    assert code == 1
    assert f"row-level security of public.projects would hide rows from {listener}" in errors
    assert f'alter role "{listener}" bypassrls' in errors

    await world.database.execute(f"alter role {listener} bypassrls")
    assert (await world.command("neverstale", "check"))[0] == 0
    await world.listener(DATABASE_URL=roles.url(listener))
    serving = await world.gateway(DATABASE_URL=roles.url(gateway))
    await eventually(lambda: serving.logged("access queries failed", count=1), "at its start")
    assert "row-level security policy" in "".join(serving.raw_lines)
    async with connected(world.http, serving, world.apollo, world.ada, v1=True) as client:
        assert (await client.next())["code"] == "unavailable"
        assert await client.closed() == 1013
    await world.database.execute(f"alter role {gateway} bypassrls")
    serving = await world.gateway(DATABASE_URL=roles.url(gateway))
    async with world.client(serving, world.apollo, world.ada) as client:
        await assert_flows(world, client)


LOOK_UP = "(select p.project from {} p where p.id = pid)"


async def test_look_ups_that_row_level_security_would_filter_are_refused_at_install(
    world: World, roles: Roles, tmp_path: Path
) -> None:
    path = tmp_path / "invalidation.toml"
    world.more["NEVERSTALE_CONFIG"] = str(path)
    path.write_text(watch("c", project=LOOK_UP.format("public.p")))
    name, owner = world.prefix[:-1], await roles.make("owner")
    await world.command("listener", "uninstall")
    await world.database.execute(
        "create table p (id int primary key, project uuid); create table c (id int, pid int);"
        f"alter table p owner to {owner}; alter table c owner to {owner};"
        f"grant create on database {name} to {owner};"
        f"insert into p values (1, '{world.apollo}');"
        "alter table p enable row level security"
    )
    url = roles.url(owner)
    assert (await world.command("listener", "install", DATABASE_URL=url))[::2] == (0, "")
    await world.database.execute("alter table p force row level security")
    code, _, errors = await world.command("neverstale", "check", DATABASE_URL=url)
    assert code == 1
    assert f"the trigger functions belong to {owner}: row-level security of public.p" in errors
    code, _, errors = await world.command("listener", "install", DATABASE_URL=url)
    assert code == 1
    assert f'alter role "{owner}" bypassrls (a superuser may)' in errors

    # a role of its own gets it, if who installs may give it
    writer = f"writer_{roles.suffix}"
    await world.database.execute(f"alter role {owner} createrole")
    code, _, errors = await world.command(
        "listener", "install", "--owner", writer, DATABASE_URL=url
    )
    assert (code, "would hide rows" in errors) == (1, True), errors
    await world.command("listener", "uninstall", DATABASE_URL=url)
    code, _, errors = await world.command("listener", "install", "--owner", writer)
    assert (code, errors) == (0, ""), errors
    assert (await world.command("neverstale", "check"))[0] == 0
    await world.database.execute("insert into c values (1, 1)")
    told = await world.database.fetchval("select project_id from neverstale.change_log")
    assert told == world.apollo


VIEWS = {
    # how p is read, and from whom its rows would be hidden
    "create view v as select * from p": "the view's owner",
    "create view v with (security_barrier) as select * from p": "the view's owner",
    "create view v with (security_invoker = on) as select * from p": "functions",
}


async def test_views_over_tables_with_row_level_security_are_looked_through(
    world: World, roles: Roles, tmp_path: Path
) -> None:
    path = tmp_path / "invalidation.toml"
    world.more["NEVERSTALE_CONFIG"] = str(path)
    path.write_text(watch("c", project=LOOK_UP.format("public.v")))
    reader = await roles.make("reader", "create on schema public")
    writer = f"writer_{roles.suffix}"
    await world.command("listener", "uninstall")
    await world.database.execute(
        "create table p (id int primary key, project uuid); create table c (id int, pid int);"
        f"alter table p owner to {reader}; alter table c owner to {reader};"
        "alter table p enable row level security; alter table p force row level security"
    )
    for view, seen_by in VIEWS.items():
        await world.database.execute(f"drop view if exists v; {view}")
        await world.database.execute(f"alter view v owner to {reader}")
        code, _, errors = await world.command("listener", "install", "--owner", writer)
        if seen_by == "functions":
            assert (code, errors) == (0, ""), view
            assert await world.database.fetchval(
                "select rolbypassrls from pg_roles where rolname = $1", writer
            )
        else:
            assert code == 1, view
            assert f"security of public.p would hide rows from {reader}" in errors, errors


async def test_row_level_security_of_our_own_tables_is_switched_off(world: World) -> None:
    await world.database.execute("alter table neverstale.moved enable row level security")
    code, _, errors = await world.command("neverstale", "check")
    assert (code, "row-level security of neverstale.moved is on" in errors) == (1, True)
    assert await world.install() == 0
    assert (await world.command("neverstale", "check"))[0] == 0


async def test_a_column_that_the_functions_may_not_read_is_refused(
    world: World, roles: Roles, tmp_path: Path
) -> None:
    path = tmp_path / "invalidation.toml"
    world.more["NEVERSTALE_CONFIG"] = str(path)
    path.write_text(watch("c", project=LOOK_UP.format("public.p")))
    name, owner = world.prefix[:-1], await roles.make("owner")
    await world.command("listener", "uninstall")
    await give_tables(world, owner)
    await world.database.execute(
        "create table p (id int primary key, project uuid); create table c (id int, pid int);"
        f"alter table c owner to {owner}; grant select (id) on p to {owner};"
        f"grant create on database {name} to {owner}"
    )
    code, _, errors = await world.command("listener", "install", DATABASE_URL=roles.url(owner))
    assert code == 1
    assert f"{owner} may not read what is needed of public.p" in errors, errors

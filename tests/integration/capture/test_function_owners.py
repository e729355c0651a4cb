"""Whose code runs in our functions, and with whose rights: nobody gains any by installing."""

from pathlib import Path
from typing import Final

import pytest

from tests.support.changes import assert_flows
from tests.support.database import Database
from tests.support.roles import DENIED, NOTIFY, Roles
from tests.support.world import World


@pytest.fixture
def roles(world: World) -> Roles:
    return Roles(world)


# a better match than PostgreSQL's own for a call in our SQL; whoever calls it is told so
_PLANTED: Final = """
create function {schema}.trap(text) returns boolean language plpgsql as
  $$begin raise exception 'a planted function was called'; end$$;
create function {schema}.format(text, regprocedure) returns text language plpgsql as
  $$begin raise exception 'a planted function was called'; end$$;
create function {schema}.pg_relation_size(text) returns bigint language plpgsql as
  $$begin raise exception 'a planted function was called'; end$$;
create function {schema}.starts_with(name, text) returns boolean language plpgsql as
  $$begin raise exception 'a planted function was called'; end$$;
"""
_PLANTED_OPERATOR: Final = """
create function {schema}.same({left}, {right}) returns boolean language plpgsql as
  $$begin raise exception 'a planted function was called'; end$$;
create operator {schema}.= (leftarg = {left}, rightarg = {right}, function = {schema}.same);
"""


async def plant(world: World, session: Database, schema: str) -> None:
    """Put functions and operators where an unqualified call in our SQL would find them."""
    await session.execute(_PLANTED.format(schema=schema))
    for left, right in (
        ("oid", "regclass"),
        ("oid", "regnamespace"),
        ("oid", "regtype"),
        ("text", "name"),
        ("name", "text"),
    ):
        await session.execute(_PLANTED_OPERATOR.format(schema=schema, left=left, right=right))


async def test_no_function_that_a_role_has_planted_is_ever_called_by_us(
    world: World, roles: Roles, tmp_path: Path
) -> None:
    name = world.database_url.rpartition("/")[2]
    planter = await roles.make("planter", f"create on database {name}")
    async with roles.session(planter) as session:
        await session.execute("create schema planted")
        await session.execute("grant usage on schema planted to public")
        await plant(world, session, "planted")
    await world.command("listener", "uninstall")
    await world.database.execute(f"alter database {name} set search_path = planted, public")
    for words in (
        ("init", "--output", str(tmp_path / "first.toml")),
        ("install",),
        ("check",),
        ("sql",),
        ("disable",),
        ("install",),
    ):
        code, _, errors = await world.command("neverstale", *words)
        assert (code, errors) == (0, ""), words
    listener = await world.listener()
    gateway = await world.gateway()
    async with world.client(gateway, world.apollo, world.ada) as client:
        await assert_flows(world, client)
    for part in (listener, gateway):
        assert not any("planted" in line for line in part.raw_lines)
    await listener.end()
    code, _, errors = await world.command("listener", "uninstall")
    assert (code, errors) == (0, "")


async def give_tables(world: World, owner: str) -> None:
    for table in ("users", "projects", "project_members", "sprints", "tasks", "messages"):
        await world.database.execute(f"alter table {table} owner to {owner}")


# the owner of a table decides what runs when one of its columns is written as text
_RETYPED: Final = """
create type app.title as (t text);
create function app.run(app.title) returns text language plpgsql as
  $$begin
    insert into app.ran values (current_user::text,
      (select rolsuper from pg_roles where rolname = current_user));
    return ($1).t;
  end$$;
create cast (app.title as text) with function app.run(app.title) as assignment;
drop trigger neverstale_moved on messages;
alter table messages drop constraint messages_pkey, alter column id drop default,
  alter column id type app.title using row(id::text)::app.title;
"""


async def test_the_owner_of_a_table_gains_no_right_of_who_installed(
    world: World, roles: Roles
) -> None:
    owner = await roles.make("owner")
    await world.command("listener", "uninstall")
    await give_tables(world, owner)
    code, _, errors = await world.command("listener", "install")
    assert code == 1
    assert f"with the rights of postgres (table public.projects belongs to {owner}" in errors
    assert "--owner neverstale_writer" in errors
    assert not await world.database.fetchval("select to_regnamespace('neverstale') is not null")

    writer = f"writer_{roles.suffix}"
    code, _, errors = await world.command("listener", "install", "--owner", writer)
    assert (code, errors) == (0, "")
    assert (await world.command("listener", "install"))[0] == 0, "it stays the owner"
    owners = await world.database.fetch(
        "select distinct proowner::regrole::text from pg_proc"
        " where pronamespace = 'neverstale'::regnamespace and proname ~ '_(insert|update)_'"
    )
    assert [row[0] for row in owners] == [writer]
    assert (await world.command("neverstale", "check"))[0] == 0

    await world.database.execute(f"create schema app authorization {owner}")
    await world.database.execute(f"grant usage on schema app to {writer}")
    async with roles.session(owner) as session:
        await session.execute("create table app.ran (role text, is_superuser bool)")
        await session.execute(f"grant insert on app.ran to {writer}")
        await session.execute(_RETYPED)
        await session.execute(
            "insert into messages (id, project_id, user_id, body)"
            " select row('1')::app.title, id, owner_id, '' from projects limit 1"
        )
        ran = {tuple(row) for row in await session.fetch("select * from app.ran")}
    assert ran == {(writer, False)}


async def test_a_functions_owner_that_can_do_more_is_refused(
    world: World, roles: Roles
) -> None:
    mighty = await roles.make("mighty")
    code, _, errors = await world.command("listener", "install", "--owner", mighty)
    assert code == 1
    assert "can do more than write the change log (it can log in)" in errors


async def test_look_ups_work_with_the_rights_of_a_functions_owner(
    world: World, roles: Roles, tmp_path: Path
) -> None:
    """It may read what the expressions look up: through a view, the view."""
    await world.database.execute(
        """
        create schema "odd.parts";
        create view "odd.parts".placed as select id, project_id from tasks;
        create table "odd.parts".notes (id int primary key, task_id uuid, parent_id int);
        """
    )
    config = tmp_path / "own.toml"
    config.write_text(
        """
        [[watch]]
        table = '"odd.parts".notes'
        resource = "note"
        id = "id"
        project = '''(select p.project_id from "odd.parts".placed p where p.id = coalesce(
          changed.task_id,
          (select n.task_id from "odd.parts".notes n where n.id = changed.parent_id)))'''
        [[watch]]
        table = "tasks"
        resource = "task"
        id = "id"
        project = "project_id"
        """
    )
    world.more["NEVERSTALE_CONFIG"] = str(config)
    writer = f"writer_{roles.suffix}"
    code, _, errors = await world.command("listener", "install", "--owner", writer)
    assert (code, errors) == (0, "")
    app = await roles.make("app", 'usage on schema "odd.parts"', 'insert on "odd.parts".notes')
    async with roles.session(app) as session:
        insert = 'insert into "odd.parts".notes values ($1, $2, $3)'
        await session.execute(insert, 1, "7a500000-0000-4000-8000-000000000001", None)
        await session.execute(insert, 2, None, 1)
    logged = await world.database.fetch(
        "select resource, id, project_id from neverstale.change_log"
        " where resource = 'note' order by at"
    )
    assert [tuple(row) for row in logged] == [
        ("note", "1", world.apollo),
        ("note", "2", world.apollo),
    ]


async def test_a_schema_of_our_name_that_another_role_has_made_is_refused(
    world: World, roles: Roles
) -> None:
    name = world.database_url.rpartition("/")[2]
    await world.command("listener", "uninstall")
    squatter = await roles.make("squatter", f"create on database {name}")
    async with roles.session(squatter) as session:
        await session.execute(_SQUATTED)
        await session.execute(f"grant all on schema neverstale to public; {_TRAP}")
    _, printed, _ = await world.command("listener", "sql")
    code, _, errors = await world.command("listener", "install")
    assert code == 1
    assert "neverstale belongs to" in errors
    with pytest.raises(DENIED, match="belongs to"):
        await world.database.execute(printed)
    await world.database.execute("rollback")
    assert not await is_superuser(world, squatter)


_SQUATTED: Final = """
create schema neverstale;
create table neverstale.installation (only_row boolean primary key, version integer);
"""
_TRAP: Final = """
create function neverstale.trap() returns trigger language plpgsql as $$
begin
  execute format('alter role %I superuser',
    (select nspowner::regrole from pg_namespace where nspname = 'neverstale'));
  return new;
end$$;
create trigger trap before insert on neverstale.installation
  for each row execute function neverstale.trap();
"""


async def is_superuser(world: World, role: str) -> bool:
    found: bool = await world.database.fetchval(
        "select rolsuper from pg_roles where rolname = $1", role
    )
    return found


async def test_the_printed_sql_calls_no_planted_function(world: World, roles: Roles) -> None:
    planter = await roles.make("planter")
    await world.database.execute(f"grant create on schema public to {planter}")
    _, printed, _ = await world.command("listener", "sql")
    await world.command("listener", "uninstall")
    async with roles.session(planter) as session:
        await plant(world, session, "public")
        await session.execute(
            "create function public.setval(text, int) returns bigint language plpgsql as"
            " $$begin raise exception 'a planted function was called'; end$$"
        )
    await world.database.execute(printed)
    await world.listener()


async def test_a_function_that_its_owner_has_changed_is_found(world: World) -> None:
    function = await world.database.fetchval(
        "select oid::regprocedure::text from pg_proc where proname like 'tasks_insert%'"
    )
    for change in (
        f"alter function {function} security invoker",
        f"alter function {function} set search_path = public",
    ):
        await world.database.execute(change)
        code, _, errors = await world.command("neverstale", "check")
        assert code == 1
        assert 'neverstale_insert on "public"."tasks" is missing or differs' in errors
        assert await world.install() == 0
        assert (await world.command("neverstale", "check"))[0] == 0


async def test_owners_of_several_tables_gain_nothing_from_each_other(
    world: World, roles: Roles
) -> None:
    await world.command("listener", "uninstall")
    owner = await roles.make("owner")
    await world.database.execute(f"alter table tasks owner to {owner}")
    code, _, errors = await world.command(
        "listener", "install", "--owner", f"writer_{roles.suffix}"
    )
    assert code == 1
    assert "belongs to several roles" in errors


async def test_a_functions_owner_that_others_may_act_as_is_refused(
    world: World, roles: Roles
) -> None:
    member, owner = await roles.make("member"), f"writer_{roles.suffix}"
    await world.database.execute(f"create role {owner} nologin; grant {owner} to {member}")
    code, _, errors = await world.command("listener", "install", "--owner", owner)
    assert code == 1
    assert f"{member} may act as it" in errors


# planning a query on a table computes such an expression, as the role that plans
_PLANTED_INDEX: Final = """
create function app.spy(int) returns int language plpgsql immutable as
  $$begin
    if (select rolsuper from pg_roles where rolname = current_user) then
      raise exception 'an expression in an index was computed';
    end if;
    return $1;
  end$$;
create index spy on projects ((app.spy(1) + length(name)));
"""


async def test_installing_and_checking_plan_no_query_on_a_watched_table(
    world: World, roles: Roles
) -> None:
    owner = await roles.make("owner", "create on schema public")
    await world.command("listener", "uninstall")
    await give_tables(world, owner)
    await world.database.execute(f"create schema app authorization {owner}")
    async with roles.session(owner) as session:
        await session.execute(_PLANTED_INDEX)
    for words in (("install", "--owner", f"writer_{roles.suffix}"), ("check",), ("sql",)):
        code, _, errors = await world.command("neverstale", *words)
        assert (code, errors) == (0, ""), words


async def test_notify_works_whoever_owns_the_functions(world: World, roles: Roles) -> None:
    owner = f"writer_{roles.suffix}"
    assert (await world.command("listener", "install", "--owner", owner))[0] == 0
    app = await roles.make("app", "usage on schema neverstale")
    await world.database.execute(f"grant execute on function neverstale.notify to {app}")
    async with roles.session(app) as session:
        await session.execute(NOTIFY)

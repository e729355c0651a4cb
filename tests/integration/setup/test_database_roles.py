"""Database roles can do what docs/how-to/postgresql-roles.md says, and nothing else."""

import asyncio
from typing import Final

import pytest

from tests.support.changes import assert_flows
from tests.support.database import Database
from tests.support.documented import documented_grants
from tests.support.processes import ROOT, eventually
from tests.support.roles import DENIED, NOTIFY, Roles
from tests.support.world import World

_SQL: Final = ROOT / "tests/support/sql"
_VERSION_3: Final = (_SQL / "schema_version_3.sql").read_text()
_VERSION_4: Final = (_SQL / "schema_version_4.sql").read_text()
_LOG: Final = "neverstale.change_log (resource, action)"
_OURS: Final = {
    *("change_log", "incarnation", "installation", "moved", "leader"),
    *("skips", "skips_noted", "skipped", "raw_notify_seen"),
}
_OLD_GRANTS: Final = """
grant usage on schema neverstale to {listener}, {app};
grant select, insert, delete on neverstale.change_log to {listener};
grant select, insert on neverstale.incarnation to {listener};
grant select, update on neverstale.installation to {listener};
grant select on neverstale.skips to {listener};
grant select, update, delete on neverstale.moved to {listener};
grant select on projects, project_members to {listener};
"""


@pytest.fixture
def roles(world: World) -> Roles:
    return Roles(world)


async def may(session: Database, statement: str) -> bool:
    transaction = session.transaction()
    await transaction.start()
    try:
        await session.execute(statement)
    except DENIED:
        return False
    finally:
        await transaction.rollback()
    return True


_CAN: Final = {
    # what a role does: who may
    "select neverstale.try_lead()": {"listener"},
    NOTIFY: {"app"},
    f"insert into {_LOG} values ('truncate', 'RECONNECT')": {"listener"},
    "select * from neverstale.change_log": {"listener"},
    "delete from neverstale.change_log": {"listener"},
    "update neverstale.change_log set resource = 'x'": set(),
    "truncate neverstale.change_log": set(),
    "insert into neverstale.moved values ('p')": set(),
    "delete from neverstale.moved": {"listener"},
    "select setval('neverstale.raw_notify_seen', 1)": {"listener"},
    "select setval('neverstale.skips_noted', 1)": {"listener"},
    "select setval('neverstale.skipped', 1, false)": {"listener"},
    "select * from neverstale.settings()": {"listener"},
    "select * from neverstale.installation": set(),
    "insert into neverstale.incarnation default values on conflict do nothing": {"listener"},
    "select nextval('neverstale.skips')": set(),
    "select last_value from neverstale.skips": {"listener"},
    "lock table neverstale.leader in exclusive mode nowait": set(),
    "lock table neverstale.installation in access exclusive mode nowait": set(),
    "lock table neverstale.change_log in access exclusive mode nowait": {"listener"},
    "create table neverstale.mine ()": set(),
    "update tasks set title = title": {"writer"},
    "select * from projects": {"listener", "gateway"},
    "alter table tasks disable trigger all": set(),
    "drop trigger neverstale_update on tasks": set(),
}


async def test_each_role_can_do_what_is_documented_and_nothing_else(
    world: World, roles: Roles
) -> None:
    made = {name: await roles.make(name) for name in ("anybody", "listener", "gateway")}
    made["app"] = await roles.make("app", "usage on schema neverstale")
    made["writer"] = await roles.make("writer", "select, update on tasks")
    await world.database.execute(documented_grants(made["listener"], made["gateway"]))
    await world.database.execute(
        f"grant execute on function neverstale.notify to {made['app']}"
    )
    for name, role in made.items():
        async with roles.session(role) as session:
            for statement, able in _CAN.items():
                assert await may(session, statement) == (name in able), (name, statement)
    # whoever may see our tables is in the list above
    listed = {
        row["relname"]
        for row in await world.database.fetch(
            "select relname from pg_class where relkind in ('r', 'v', 'S')"
            " and relnamespace = 'neverstale'::regnamespace"
        )
    }
    assert listed == _OURS


async def attach_all(session: Database, world: World) -> list[str]:
    """Attach each trigger function of ours to a table of one's own; those that could be."""
    functions = await world.database.fetch(
        "select oid::regprocedure::text as name from pg_proc"
        " where pronamespace = 'neverstale'::regnamespace"
        " and prorettype = 'trigger'::regtype"
    )
    assert len(functions) > 10
    await session.execute("create temporary table mine (id int)")
    return [
        row["name"]
        for row in functions
        if await may(
            session,
            "create trigger t after insert on mine for each row"
            f" execute function {row['name']}",
        )
    ]


async def test_nobody_can_attach_our_trigger_functions_to_a_table_of_their_own(
    world: World, roles: Roles
) -> None:
    app = await roles.make("app", "usage on schema neverstale")
    async with roles.session(app) as session:
        assert await attach_all(session, world) == []


async def test_rights_that_default_privileges_gave_are_taken_back(
    world: World, roles: Roles
) -> None:
    app = await roles.make("app")
    await world.command("listener", "uninstall")
    await world.database.execute(
        f"alter default privileges grant execute on functions to {app}"
    )
    assert await world.install() == 0
    await world.database.execute(f"grant usage on schema neverstale to {app}")
    async with roles.session(app) as session:
        assert await attach_all(session, world) == []


async def test_check_names_each_right_that_should_not_be_there(
    world: World, roles: Roles
) -> None:
    app = await roles.make("app", "usage on schema neverstale")
    code, _, errors = await world.command("neverstale", "check")
    assert (code, errors) == (0, "")
    function = await world.database.fetchval(
        "select oid::regprocedure::text from pg_proc where proname like 'tasks_insert%'"
    )
    await world.database.execute(
        f"grant select, update on neverstale.change_log to {app};"
        f"grant execute on function {function} to {app};"
        "grant execute on function neverstale.notify to public;"
        f"grant create on schema neverstale to {app}"
    )
    code, _, errors = await world.command("neverstale", "check")
    assert code == 1
    statements = [line.rpartition(": ")[2] for line in errors.splitlines()]
    assert statements == [
        "revoke EXECUTE on function neverstale.notify(text,text,text,text,text) from public",
        f"revoke EXECUTE on function {function} from {app}",
        f"revoke CREATE on schema neverstale from {app}",
        f"revoke SELECT, UPDATE on table neverstale.change_log from {app}",
    ]
    for statement in statements:
        await world.database.execute(statement)
    assert (await world.command("neverstale", "check"))[0] == 0


async def test_the_rights_of_an_older_schema_are_tightened_and_its_roles_go_on(
    world: World, roles: Roles
) -> None:
    listener, app = await roles.make("listener"), await roles.make("app")
    await world.command("listener", "uninstall")
    await world.database.execute(_VERSION_3)
    await world.database.execute(
        "create function neverstale.old() returns trigger language plpgsql security definer"
        " set search_path = pg_catalog, pg_temp as 'begin return null; end'"
    )
    await world.database.execute(_OLD_GRANTS.format(listener=listener, app=app))
    assert await world.install() == 0
    await world.listener(DATABASE_URL=roles.url(listener))
    async with roles.session(app) as session:
        await session.execute(NOTIFY)
        assert await attach_all(session, world) == []
        assert not await may(session, "select neverstale.try_lead()")
    stranger = await roles.make("stranger")
    async with roles.session(stranger) as session:
        assert not await may(session, NOTIFY)
    assert (await world.command("neverstale", "check"))[0] == 0


@pytest.mark.parametrize("lock", ["pg_advisory_lock", "pg_advisory_lock_shared"])
async def test_who_holds_advisory_locks_keeps_nobody_from_leading(
    world: World, roles: Roles, lock: str
) -> None:
    """Any role may take them, with keys as in our SQL; what is left of them is told."""
    stranger = await roles.make("stranger")
    listener_role = await roles.make("listener")
    gateway_role = await roles.make("gateway")
    await world.database.execute(documented_grants(listener_role, gateway_role))
    url = roles.url(listener_role)
    async with roles.session(stranger) as session:
        for key in (1, 2, 3):
            await session.execute(f"select {lock}(1853187955, {key})")
        pid = await session.fetchval("select pg_backend_pid()")
        code, _, errors = await world.command("listener", "install")
        assert (code, errors) == (0, "")
        leader = await world.listener(DATABASE_URL=url)
        standby = await world.listener(role="standby", DATABASE_URL=url)
        gateway = await world.gateway()
        async with world.client(gateway, world.apollo, world.ada) as client:
            await assert_flows(world, client)
            said = "a session keeps the wake-up lock: end it"
            statement = f"select pg_terminate_backend({pid})"
            await eventually(
                lambda: leader.logged(said, role=stranger, statement=statement), "it is told"
            )
            await leader.end()
            await standby.ready(world.http, role="leader")
            await assert_flows(world, client)


async def test_a_leaders_lock_holds_back_no_vacuum(world: World) -> None:
    leader = await world.listener()
    query = """
        select a.pid, a.backend_xmin is null and a.backend_xid is null as is_light
          from pg_locks l join pg_stat_activity a using (pid)
         where l.relation = 'neverstale.leader'::regclass and l.mode = 'ExclusiveLock'"""
    async with asyncio.timeout(20):
        while not (rows := await world.database.fetch(query)) or not rows[0]["is_light"]:
            await asyncio.sleep(0.05)
    await world.database.execute("vacuum")
    await leader.ready(world.http, role="leader")


async def test_what_a_leader_uses_is_not_uninstalled(world: World) -> None:
    leader = await world.listener()
    code, _, errors = await world.command("listener", "uninstall")
    assert code == 1
    assert "stop all listeners first" in errors
    await leader.end()
    assert (await world.command("listener", "uninstall"))[0] == 0


async def test_triggers_that_others_have_attached_our_functions_to_are_dropped(
    world: World, roles: Roles
) -> None:
    app = await roles.make("app", "usage on schema neverstale", "create on schema public")
    function = await world.database.fetchval(
        "select oid::regprocedure::text from pg_proc where proname like 'tasks_insert%'"
    )
    await world.database.execute(f"grant execute on function {function} to {app}")
    async with roles.session(app) as session:
        await session.execute("create table theirs (id int)")
        await session.execute(
            "create trigger mine after insert on theirs"
            f" for each row execute function {function}"
        )
    code, _, errors = await world.command("neverstale", "check")
    assert code == 1
    assert '"mine" on "public"."theirs" belongs to no [[watch]]' in errors
    assert await world.install() == 0
    assert (
        await world.database.fetchval("select count(*) from pg_trigger where tgname='mine'")
        == 0
    )


async def test_what_default_privileges_give_in_a_new_schema_is_taken_back(
    world: World, roles: Roles
) -> None:
    app = await roles.make("app")
    await world.command("listener", "uninstall")
    for kind in ("tables", "sequences", "functions", "schemas"):
        await world.database.execute(f"alter default privileges grant all on {kind} to {app}")
    assert await world.install() == 0
    async with roles.session(app) as session:
        for statement, able in _CAN.items():
            if "neverstale" in statement:
                assert not await may(session, statement), (statement, able)


async def test_an_upgrade_gives_what_it_makes_to_listeners_alone(
    world: World, roles: Roles
) -> None:
    """Whatever default privileges say of functions, tables and sequences that are made now."""
    await world.command("listener", "uninstall")
    await world.database.execute(_VERSION_4)
    app = await roles.make("app", "usage on schema neverstale")
    listener = await roles.make(
        "listener",
        "usage on schema neverstale",
        "select, insert, update, delete on neverstale.change_log",
        "select, update on neverstale.installation",
    )
    await world.database.execute("alter default privileges revoke all on functions from public")
    for kind in ("tables", "sequences"):
        await world.database.execute(f"alter default privileges grant all on {kind} to {app}")
    assert await world.install() == 0
    async with roles.session(listener) as session:
        assert await session.fetchval("select version from neverstale.settings()") == 5
        assert await session.fetchval("select version from neverstale.installation") == 5
        await session.execute("select setval('neverstale.skipped', 1, false)")
    async with roles.session(app) as session:
        for sequence in ("skips_noted", "skipped", "raw_notify_seen"):
            with pytest.raises(DENIED):
                await session.execute(f"select setval('neverstale.{sequence}', 1)")
        with pytest.raises(DENIED):
            await session.execute("select * from neverstale.installation")

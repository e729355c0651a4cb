"""Columns, settings and sessions that make capture hard: what is logged, what is refused."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import asyncpg
import pytest

from listener.leader.change_log import ChangeLog
from tests.support.demo_data import APOLLO as A
from tests.support.demo_data import GEMINI as B
from tests.support.processes import HANG_SECONDS, ROOT
from tests.support.watches import RULES, watch
from tests.support.world import World

Told: TypeAlias = set[tuple[str | None, str | None, str]]
Configure: TypeAlias = Callable[[str], object]
SHIPPED = (ROOT / "invalidation.toml").read_text()


@dataclass(frozen=True)
class Case:
    """A statement in a session of its own, and what of it is in the log."""

    schema: str
    config: str
    sql: str
    told: Told


ODD_NAMES = (
    "changed before new old p n counted here there told widened found row neverstale sqlstate"
    " neverstale_heavy neverstale_logged neverstale_row neverstale_rows % %s %I {} project_id"
    " user_id resource action"
)
ODD_COLUMNS = "id text, project uuid, " + ", ".join(
    f'"{name}" text' for name in ODD_NAMES.split()
)
CASES = {
    "a numeric id that is written differently": Case(
        f"create table t (id numeric, project uuid); insert into t values (1.0, '{A}')",
        watch("t"),
        "update t set id = 1.00",
        {(A, "1.0", "UPDATE"), (A, "1.00", "UPDATE")},
    ),
    "a project of two collations, in bulk": Case(
        'create table t (id int, a text collate "C", b text collate "POSIX")',
        "bulk_threshold = 2\n" + watch("t", project="a || b"),
        "insert into t select n, 'a', 'b' from generate_series(1, 8) n",
        {
            ("ab", "1", "INSERT"),
            ("ab", "2", "INSERT"),
            ("ab", "3", "INSERT"),
            ("ab", None, "RECONNECT"),
        },
    ),
    "a time as id, by a session that writes times its own way": Case(
        "create table t (id timestamptz, project uuid)",
        watch("t"),
        "set timezone = 'Asia/Tokyo'; set datestyle = 'German';"
        f"insert into t values ('2024-01-01 00:00:00+00', '{A}')",
        {(A, "2024-01-01 00:00:00+00", "INSERT")},
    ),
    "an id with a backslash in it, by a session that escapes with them": Case(
        "create table t (id text, project uuid)",
        watch("t", id=r"regexp_replace(id, '\d', '')"),
        f"set standard_conforming_strings = off; insert into t values ('d12', '{A}')",
        {(A, "d2", "INSERT")},
    ),
    "an id whose expression has quotes within constants": Case(
        f"create table t (code text, project uuid); insert into t values ('c', '{A}')",
        watch("t", id="""'"' || code || '"'"""),
        "update t set code = 'd'",
        {(A, '"c"', "UPDATE"), (A, '"d"', "UPDATE")},
    ),
    "a number in a tree that is written differently": Case(
        "create table t (id int, project uuid, price numeric, touched int)"
        " partition by list (id);"
        "create table t1 partition of t default;"
        f"insert into t values (1, '{A}', 1.0, 0)",
        watch("t", ignore='["touched"]'),
        "update t set price = 1.00",
        {(A, "1", "UPDATE")},
    ),
    "names as in our functions, in bulk": Case(
        f"create table changed ({ODD_COLUMNS});"
        "insert into changed (id, project) select n::text, case when n < 5"
        f" then '{A}' else '{B}' end::uuid from generate_series(1, 6) n",
        "bulk_threshold = 2\n" + watch("changed", ignore='["neverstale_row"]'),
        "update changed set neverstale_row = 1;"
        "update changed set n = 1 where id in ('5', '6'); delete from changed",
        {(A, None, "RECONNECT")}
        | {(A, str(n), "DELETE") for n in (1, 2, 3)}
        | {(B, id_, action) for id_ in "56" for action in ("UPDATE", "DELETE")},
    ),
    "names as in our functions, in a tree, with look-ups": Case(
        f"create table new ({ODD_COLUMNS}) partition by list (id);"
        "create table before partition of new default;"
        "create table neverstale_rows (p text primary key, n uuid, old int);"
        f"insert into neverstale_rows values ('x', '{A}'), ('y', '{B}');"
        "insert into new (id, \"%s\") values ('1', 'x')",
        watch("neverstale_rows", id="p", project="n")
        + watch(
            "new",
            project='(select r.n from public.neverstale_rows r where r.p = changed."%s")',
            ignore='["neverstale_row"]',
        ),
        "update new set neverstale_row = 1; update new set \"%s\" = 'y';"
        "update neverstale_rows set old = 1, p = 'z' where p = 'y'",
        {
            (A, "1", "UPDATE"),
            (B, "1", "UPDATE"),
            (B, None, "RECONNECT"),
            (B, "z", "UPDATE"),
        },
    ),
    "a parent that is looked up through a view": Case(
        "create table p (id int primary key, project uuid); create table c (id int, pid int);"
        "create view v as select * from p;"
        f"insert into p values (1, '{A}'); insert into c values (7, 1)",
        watch("p") + watch("c", project="(select v.project from public.v where v.id = pid)"),
        f"update p set project = '{B}'",
        {
            (A, None, "RECONNECT"),
            (B, None, "RECONNECT"),
            (B, "1", "UPDATE"),
        },
    ),
    "a parent that is looked up by its own name, below the table that is watched": Case(
        "create table a (id int, project uuid); create table p () inherits (a);"
        "create table c (id int, pid int);"
        f"insert into p values (1, '{A}'); insert into c values (7, 1)",
        watch("a") + watch("c", project="(select p.project from public.p where p.id = pid)"),
        f"update a set project = '{B}'",
        {
            (A, "1", "UPDATE"),
            (B, "1", "UPDATE"),
            (A, None, "RECONNECT"),
            (B, None, "RECONNECT"),
        },
    ),
}


@pytest.fixture
def configure(world: World, tmp_path: Path) -> Configure:
    """Writes the file that the world's commands take for theirs."""
    path = tmp_path / "invalidation.toml"
    world.more["NEVERSTALE_CONFIG"] = str(path)
    return path.write_text


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_what_is_hard_to_capture_is_logged(
    world: World, configure: Configure, case: Case
) -> None:
    configure(case.config)
    await world.database.execute(case.schema)
    assert (await world.command("listener", "install"))[::2] == (0, "")
    session = await asyncpg.connect(world.database_url)
    await session.execute(case.sql)
    await session.close()
    rows = await world.database.fetch(
        "select project_id, id, action from neverstale.change_log"
    )
    assert {tuple(row) for row in rows} == case.told


@pytest.mark.parametrize("is_tree", [False, True], ids=["a table", "a partitioned table"])
async def test_names_that_look_like_placeholders_or_sql_are_captured(
    world: World, configure: Configure, is_tree: bool
) -> None:
    """SQL that is formatted, or taken apart again, would take them for its own."""
    name = "p%s as\n{owner} $1 select "
    partitioned = ' partition by list ("p%s")' if is_tree else ""
    await world.database.execute(
        f'create table "{name}" ("p%s" int, "{{owner}}" text, "{{watches}}" uuid,'
        f' "select " text, "$1" text, "from ( where" text){partitioned}'
    )
    if is_tree:
        await world.database.execute(f'create table "1{name}" partition of "{name}" default')
    configure(
        watch(
            rf"\"{name}\"".replace("\n", r"\n"),
            id='"{owner}" || "$1" || "select "',
            project='"{watches}"',
            ignore='["from ( where"]',
        )
    )
    for is_new in (True, False):
        code, output, errors = await world.command("listener", "install")
        assert (code, errors) == (0, "")
        assert ("created" in output) == is_new, output
    code, output, errors = await world.command("neverstale", "check")
    assert (code, errors) == (0, "")
    await world.database.execute(
        f"insert into \"{name}\" values (1, 'a', '{A}', 'b', 'c', 'd');"
        f'update "{name}" set "from ( where" = \'e\';'
        f'update "{name}" set "{{watches}}" = \'{B}\'; delete from "{name}"'
    )
    rows = await world.database.fetch(
        "select project_id, id, action from neverstale.change_log"
    )
    assert {tuple(row) for row in rows} == {
        (A, "acb", "INSERT"),
        (A, "acb", "UPDATE"),
        (B, "acb", "UPDATE"),
        (B, "acb", "DELETE"),
    }


REFUSED = {
    "a virtual column": (
        "create table t (id int, data jsonb, project text generated always as"
        " (data->>'p') virtual)",
        watch("t"),
        "project is a virtual column",
    ),
    "one table by two names": (
        "create table t (id int, project uuid)",
        watch("t") + watch("public.t"),
        '"public"."t" is watched by (t) already',
    ),
    "a table and its partition": (
        "create table t (id int, project uuid) partition by list (id);"
        "create table t1 partition of t default",
        watch("t") + watch("t1"),
        '"public"."t1" is watched by (t) already',
    ),
    "a foreign partition": (
        "create table t (id int, project uuid) partition by list (id);"
        "create foreign data wrapper w; create server s foreign data wrapper w;"
        "create foreign table t1 partition of t default server s",
        watch("t"),
        "a partition is a foreign table",
    ),
    "a name of four parts, and a good one": (
        "create table t (id int, project uuid)",
        watch("a.b.c.d") + watch("t"),
        "watch (a.b.c.d) table: there is no such table",
    ),
    "another database's": (
        "create table t (id int, project uuid)",
        watch("other.public.t"),
        "watch (other.public.t) table: there is no such table",
    ),
    "a threshold without end": (
        "create table t (id int, project uuid)",
        "bulk_threshold = 9223372036854775807\n" + watch("t"),
        "bulk_threshold: must be from 1 to 1000000",
    ),
}


@pytest.mark.parametrize(("schema", "text", "told"), REFUSED.values(), ids=REFUSED)
async def test_what_cannot_be_captured_is_refused(
    world: World, configure: Configure, schema: str, text: str, told: str
) -> None:
    if "virtual" in schema and world.database.get_server_version().major < 18:
        pytest.skip("virtual columns are new in PostgreSQL 18")
    configure(text)
    await world.database.execute(schema)
    code, _, errors = await world.command("listener", "install")
    assert (code, "Traceback" in errors) == (2, False)
    assert told in errors


async def test_a_parent_that_may_not_be_read_is_refused(
    world: World, configure: Configure
) -> None:
    role = f"role_{world.prefix[:-1]}"
    configure(watch("c", project="(select p.project from public.p where p.id = pid)"))
    assert (await world.command("listener", "uninstall"))[0] == 0
    await world.database.execute(
        f"create role {role} login; create table p (id int, project uuid);"
        f"create table c (id int, pid int); alter table c owner to {role};"
        f"grant create on database {world.prefix[:-1]} to {role}"
    )
    code, _, errors = await world.command(
        "listener",
        "install",
        DATABASE_URL=world.database_url.replace("postgres@", f"{role}@"),
    )
    assert "permission denied for table p" in errors, errors
    assert code == 2


async def test_a_sessions_own_types_do_not_run_as_the_owner_of_our_functions(
    world: World,
) -> None:
    role = f"mallory_{world.prefix[:-1]}"
    await world.database.execute(
        f"create role {role} login; grant select, update on tasks to {role}"
    )
    session = await asyncpg.connect(world.database_url.replace("postgres@", f"{role}@"))
    await session.execute(
        "create function pg_temp.evil(v pg_catalog.text) returns boolean language plpgsql as"
        f" $$begin execute 'alter role {role} superuser'; return true; end$$;"
        "create domain pg_temp.text as pg_catalog.text check (pg_temp.evil(value));"
        "update tasks set title = 'x'"
    )
    await session.close()
    assert not await world.database.fetchval(
        "select rolsuper from pg_roles where rolname = $1", role
    )
    assert await world.database.fetchval("select count(*) from neverstale.change_log")


async def test_an_install_that_changes_nothing_waits_for_no_writer(world: World) -> None:
    writing = world.database.transaction()
    await writing.start()
    await world.database.execute("update tasks set title = 'x'")
    code, output, errors = await asyncio.wait_for(
        world.command("listener", "install"), HANG_SECONDS
    )
    assert (code, errors) == (0, "")
    assert "created" not in output
    await writing.commit()


async def test_in_a_deadlock_it_is_install_that_gives_way(
    world: World, configure: Configure
) -> None:
    """The app has a table and wants others, install has others and waits for that one."""
    configure("bulk_threshold = 49\n" + SHIPPED)
    writing = world.database.transaction()
    await writing.start()
    await world.database.execute("lock table tasks in row exclusive mode")
    installing = asyncio.create_task(world.command("listener", "install"))
    looking = await asyncpg.connect(world.database_url)
    async with asyncio.timeout(HANG_SECONDS):
        while not await looking.fetchval(
            "select count(*) from pg_locks where not granted and relation = 'tasks'::regclass"
        ):
            await asyncio.sleep(0.01)
    await looking.close()
    for table in ("tasks", "messages", "sprints", "projects"):
        await world.database.execute(f"update {table} set id = id")
    await writing.commit()
    code, _, errors = await installing
    assert (code, errors) == (0, "")


async def fill_queue(world: World) -> None:
    for _ in range(1000):
        await world.database.execute("select pg_notify('something', repeat('x', 7000))")


async def test_a_moved_parent_waits_for_whoever_began_after_it_and_looked_it_up_before(
    world: World, configure: Configure
) -> None:
    """The child's transaction is the newer one, and no other has ended since."""
    configure(
        watch("p") + watch("c", project="(select p.project from public.p where p.id = pid)")
    )
    await world.database.execute(
        "create table p (id int primary key, project uuid); create table c (id int, pid int);"
        f"insert into p values (1, '{A}'); insert into c values (7, 1)"
    )
    assert await world.install() == 0
    mover, writer = [await asyncpg.connect(world.database_url) for _ in range(2)]
    await mover.execute("begin")
    await mover.execute(f"update p set project = '{B}'")
    await writer.execute("begin")
    await writer.execute("delete from c")
    await mover.execute("commit")
    log = ChangeLog(world.database, RULES)
    retold = (
        "select count(*) from neverstale.change_log"
        " where project_id = $1 and action = 'RECONNECT'"
    )
    for _ in range(3):
        await log.log_moved_projects()
        assert await world.database.fetchval(retold, B) == 1
    await writer.execute("commit")
    await log.log_moved_projects()
    assert await world.database.fetchval(retold, B) == 2
    assert not await world.database.fetchval("select count(*) from neverstale.moved")
    await mover.close()
    await writer.close()


async def test_a_full_notification_queue_fails_no_write(own_world: World) -> None:
    world = own_world
    if not await world.database.fetch(
        "select from pg_settings where name = 'max_notify_queue_pages'"
    ):
        pytest.skip("max_notify_queue_pages is new in PostgreSQL 17: before, it takes 8 GB")
    await world.database.execute("alter system set max_notify_queue_pages = 64")
    world.servers.postgres.stop()
    world.servers.postgres.start()
    await world.reconnect_database()
    deaf = await asyncpg.connect(world.database_url)
    await deaf.execute("listen something")
    await deaf.execute("begin; select 1")
    with pytest.raises(asyncpg.PostgresError, match="too many notifications"):
        await fill_queue(world)
    await world.database.execute("update tasks set title = 'x'")
    assert await world.database.fetchval("select count(*) from neverstale.change_log")
    await deaf.execute("rollback; unlisten *")
    await deaf.close()

"""A parent that another one takes the place of moves all below it, as an UPDATE of it does."""

from pathlib import Path

import asyncpg

from listener.leader.change_log import ChangeLog
from tests.support.demo_data import APOLLO as A
from tests.support.demo_data import GEMINI as B
from tests.support.watches import RULES, watch
from tests.support.world import World

SCHEMA = f"""
create table p (id int primary key, project uuid, code text unique);
create table c (id int, pid int references p deferrable initially deferred);
create table firm (id int, pid int references p on delete cascade);
create table bare (id int primary key, project uuid);
create table below (id int, bid int);
create table own (id int primary key, up int references own, pid int references p);
insert into p values (1, '{A}', 'x'), (2, '{A}', 'y');
insert into c values (1, 1);
insert into bare values (1, '{A}');
insert into below values (1, 1);
"""
CONFIG = (
    watch("p", resource="p")
    + watch("c", project="(select p.project from public.p p where p.id = pid)")
    + watch("firm", project="(select p.project from public.p p where p.id = pid)")
    + watch(
        "own",
        project="(select p.project from public.p p where p.id = coalesce(changed.pid,"
        " (select o.pid from public.own o where o.id = changed.up)))",
    )
    + watch("bare", resource="bare")
    + watch("below", project="(select b.project from public.bare b where b.id = bid)")
)
BOTH = {(A, "RECONNECT"), (B, "RECONNECT")}

# what the app does in one transaction, and which resets are logged of it
CASES = {
    "deleted and inserted with another project": (
        f"delete from p where id = 1; insert into p values (1, '{B}')",
        BOTH,
    ),
    "by one statement": (
        "with d as (delete from p where id = 1 returning 1)"
        f" insert into p select 1, '{B}' from d",
        BOTH,
    ),
    "inserted in a savepoint": (
        f"delete from p where id = 1; savepoint s; insert into p values (1, '{B}');"
        "release savepoint s",
        BOTH,
    ),
    "the deletion was undone": (
        "savepoint s; delete from p where id = 2; rollback to savepoint s;"
        f"insert into p values (7, '{B}')",
        set(),
    ),
    "by an upsert": (
        f"insert into p values (1, '{B}') on conflict (id) do update set project = '{B}'",
        BOTH,
    ),
    "another key that a row is found by": (
        "update p set id = 9 where id = 2",
        {(A, "RECONNECT")},
    ),
    "inserted": (f"insert into p values (3, '{B}')", set()),
    "its own parent": (
        "insert into own values (1, null, 1); insert into own values (2, 1)",
        set(),
    ),
    "deleted, and below it by its foreign key": (
        "set constraints all immediate; delete from c; delete from p where id = 1",
        set(),
    ),
    "of very many projects": (
        "insert into p select g, gen_random_uuid() from generate_series(100, 300) g;"
        f"delete from p where id >= 100; insert into p values (4, '{B}')",
        {(None, "RECONNECT"), (B, "RECONNECT")},
    ),
    "without a foreign key, deleted": ("delete from bare", {(A, "RECONNECT")}),
    "without a foreign key, inserted": (
        f"insert into bare values (2, '{B}')",
        {(B, "RECONNECT")},
    ),
    "without a foreign key, replaced": (
        f"delete from bare; insert into bare values (1, '{B}')",
        BOTH,
    ),
    "without a foreign key, truncated and loaded": (
        f"truncate bare; insert into bare values (1, '{B}')",
        {(None, "RECONNECT"), (B, "RECONNECT")},
    ),
}


async def test_a_parent_that_is_replaced_widens_both_projects(
    world: World, tmp_path: Path
) -> None:
    path = tmp_path / "invalidation.toml"
    path.write_text(CONFIG)
    world.more["NEVERSTALE_CONFIG"] = str(path)
    await world.database.execute(SCHEMA)
    assert (await world.command("listener", "install"))[::2] == (0, "")
    for case, (sql, resets) in CASES.items():
        transaction = world.database.transaction()
        await transaction.start()
        seen = await world.database.fetchval("select clock_timestamp()")
        await world.database.execute(sql)
        rows = await world.database.fetch(
            "select project_id, action from neverstale.change_log"
            " where action = 'RECONNECT' and at > $1",
            seen,
        )
        assert {tuple(row) for row in rows} == resets, case
        await transaction.rollback()
    _, output, _ = await world.command("neverstale", "check")
    assert 'watch (below) project: looks up "public"."bare", but no foreign key' in output
    assert output.count("but no foreign key") == 1

    writer = await asyncpg.connect(world.database_url)
    await writer.execute("begin; insert into c values (2, 1)")
    await world.database.execute(
        f"begin; delete from p where id = 1; insert into p values (1, '{B}'); commit"
    )
    log = ChangeLog(world.database, RULES)
    retold = (
        "select count(*) from neverstale.change_log"
        " where project_id = $1 and action = 'RECONNECT'"
    )
    await log.log_moved_projects()
    assert await world.database.fetchval(retold, B) == 1
    await writer.execute("commit")
    await writer.close()
    await log.log_moved_projects()
    assert await world.database.fetchval(retold, B) == 2

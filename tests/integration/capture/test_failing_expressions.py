"""No write of the app's fails for what our functions compute: that resets everybody."""

from pathlib import Path

import asyncpg

from tests.support.demo_data import APOLLO as A
from tests.support.demo_data import GEMINI as B
from tests.support.watches import watch
from tests.support.world import World

SCHEMA = f"""
create table p (id int primary key, project uuid);
create table c (id int, pid int, n int default 1, code text default '{A}');
create table tree (id int, pid int, n int default 1) partition by list (id);
create table tree_all partition of tree default;
create table board (id int primary key, project uuid, archived boolean default false);
create table card (id int, board int references board);
insert into board values (1, '{A}');
create function public.place(int) returns uuid language sql as
  'select project from public.p where id = $1';
insert into p values (1, '{A}');
insert into c values (1, 1), (2, 1);
insert into tree values (1, 1);
"""
LOOK_UP = "(select p.project from public.p p where p.id = pid)"
CONFIG = (
    "bulk_threshold = 3\n"
    + watch("p", resource="p", project="project", id="100 / id")
    + watch("c", resource="c", project=LOOK_UP, id="id / n", ignore='["code"]')
    + watch("board", resource="board", project="project", id="id")
    + watch(
        "card",
        resource="card",
        project="(select b.project from public.board b where b.id = board and not b.archived)",
        id="id",
    )
    + watch("tree", resource="tree", project="public.place(pid)", id="id / n")
)
EVERYBODY = (None, "RECONNECT")
ONE = {(A, "INSERT")}

# what is done first, what the app writes then, and what is logged of that
CASES = {
    "all is well": ("", "insert into c values (3, 1)", ONE),
    "well in a function": ("", "insert into tree values (3, 1)", ONE),
    "a division by zero": ("", "insert into c values (3, 1, 0)", {EVERYBODY}),
    "one among many": (
        "",
        "insert into c select g, 1, g - 2 from generate_series(1, 10) g",
        {EVERYBODY},
    ),
    "an UPDATE, row by row": ("", "update c set n = 0", {EVERYBODY}),
    "a DELETE": ("update c set n = 0", "delete from c", {EVERYBODY}),
    "an UPDATE in a tree": ("", "update tree set n = 0", {EVERYBODY}),
    "a look-up that finds two": (
        f"alter table p drop constraint p_pkey; insert into p values (1, '{B}')",
        "insert into c values (3, 1)",
        {EVERYBODY},
    ),
    "a parent that is not told": ("", "update p set id = 0", {EVERYBODY, (A, "RECONNECT")}),
    "a dropped function": (
        "drop function public.place",
        "insert into tree values (3, 1)",
        {EVERYBODY},
    ),
    "a renamed column of the parent": (
        "alter table p rename project to elsewhere",
        "insert into c values (3, 1)",
        {EVERYBODY},
    ),
    "a renamed column of the table": (
        "alter table c rename n to m",
        "insert into c values (3, 1)",
        {EVERYBODY},
    ),
    "a renamed column that a watch names": (
        "alter table board rename project to owning_project",
        f"insert into board values (2, '{B}')",
        {EVERYBODY},
    ),
    "a renamed column that look-ups of others read": (
        "alter table board rename archived to hidden",
        "update board set hidden = true",
        {EVERYBODY},
    ),
    "a right that was revoked": (
        "alter table p owner to {other}; revoke all on p from {owner}",
        "insert into c values (3, 1)",
        {EVERYBODY},
    ),
    "row-level security, forced": (
        "alter table p enable row level security; alter table p force row level security",
        "insert into c values (3, 1)",
        {EVERYBODY},
    ),
    "a policy that fails": (
        "alter table p enable row level security; alter table p force row level security;"
        "create policy q on p using (project = current_setting('app.project')::uuid)",
        "update tree set n = 2",
        {EVERYBODY},
    ),
    "row-level security of the watched table": (
        "alter table c enable row level security; alter table c force row level security;"
        "create policy q on c for insert to {app} with check (true)",
        "insert into c values (3, 1)",
        ONE,
    ),
    "an assertion in a function": (
        "create or replace function public.place(int) returns uuid language plpgsql as"
        " 'begin assert false; end'",
        "insert into tree values (3, 1)",
        {EVERYBODY},
    ),
}


async def test_no_write_fails_for_what_our_functions_compute(
    world: World, tmp_path: Path
) -> None:
    name = world.prefix[:-1]
    owner, other, app = (f"{role}_{name}" for role in ("owner", "other", "app"))
    path = tmp_path / "invalidation.toml"
    path.write_text(CONFIG)
    world.more["NEVERSTALE_CONFIG"] = str(path)
    await world.command("listener", "uninstall")
    await world.database.execute(SCHEMA)
    for role in (owner, other, app):
        await world.database.execute(f"create role {role}")
    await world.database.execute(
        f"alter role {owner} login; grant create on database {name} to {owner}"
    )
    for table in ("p", "c", "board", "card", "tree", "tree_all"):
        await world.database.execute(
            f"alter table {table} owner to {owner}; grant all on {table} to {app}"
        )
    url = world.database_url.replace("postgres@", f"{owner}@")
    code, _, errors = await world.command("listener", "install", DATABASE_URL=url)
    assert (code, errors) == (0, "")
    database = world.database
    logged = {}
    for case, (before, write, _) in CASES.items():
        transaction = database.transaction()
        await transaction.start()
        if before:
            await database.execute(before.format(owner=owner, other=other, app=app))
        await database.execute(f"set role {app}")
        seen = await database.fetchval("select clock_timestamp()")
        await database.execute(write)
        await database.execute("reset role")
        rows = await database.fetch(
            "select project_id, action from neverstale.change_log where at > $1", seen
        )
        logged[case] = {tuple(row) for row in rows}
        await transaction.rollback()
    assert logged == {case: told for case, (_, _, told) in CASES.items()}


async def test_a_transaction_of_many_statements_takes_no_ids_for_them(
    world: World, tmp_path: Path
) -> None:
    """A block that catches errors is a subtransaction; with an id, many of them cost others."""
    path = tmp_path / "invalidation.toml"
    path.write_text(CONFIG)
    world.more["NEVERSTALE_CONFIG"] = str(path)
    await world.database.execute(SCHEMA)
    assert await world.install() == 0
    head = "select pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
    looking = await asyncpg.connect(world.database_url)
    async with world.database.transaction():
        await world.database.execute("insert into c values (3, 1)")
        before = await looking.fetchval(head)
        for _ in range(20):
            await world.database.execute("insert into c values (3, 1)")
            await world.database.execute("update c set n = n + 1 where id = 3")
        assert await looking.fetchval(head) == before
    await looking.close()

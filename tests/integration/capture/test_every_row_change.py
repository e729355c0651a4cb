"""Every way in which a row can change, on tables of every kind."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from tests.support.changes import is_reset
from tests.support.demo_data import APOLLO, GEMINI, OTHER_TASK, TASK
from tests.support.processes import HANG_SECONDS, Client
from tests.support.world import World

LINES = '"Shop"."Order Lines"'
SCHEMA = """
create schema "Shop";
create table "Shop"."Order Lines" (
    "Order" bigint, line int, project_id uuid, primary key ("Order", line));
create table notes (
    id bigint primary key, project_id uuid, body text, extra json, touched_at timestamptz);
create table subtasks (
    id bigint primary key, title text,
    task_id uuid not null references tasks on delete cascade);
create table labels (
    name text primary key, project_id uuid);
create table label_uses (
    id bigint primary key, label text references labels on update cascade on delete cascade,
    project_id uuid);
create table readings (
    id bigint, kind text, project_id uuid, touched_at timestamptz, extra json)
    partition by list (kind);
create table readings_a partition of readings for values in ('a');
create table readings_b partition of readings for values in ('b') partition by list (kind);
create table readings_b1 partition of readings_b default;
create table entries (id bigint, project_id uuid) partition by list (id);
create table entries_all partition of entries default;
create table documents (id bigint primary key, project_id uuid, title text, extra json);
create table pages (id bigint primary key, document_id bigint);
create table letters (recipient text) inherits (documents);
create table papers (id bigint primary key, project_id uuid, extra json);
create table memos (recipient text) inherits (papers);
create view open_notes as select id, project_id, body from notes where body <> 'closed';
"""
CONFIG = """
bulk_threshold = 5
[[watch]]
table = "tasks"
resource = "task"
id = "id"
project = "project_id"
[[watch]]
table = '"Shop"."Order Lines"'
resource = "line"
id = "\\"Order\\" || '/' || line"
project = "project_id"
[[watch]]
table = "notes"
resource = "note"
id = "changed.id"
project = "project_id"
ignore = ["touched_at"]
[[watch]]
table = "subtasks"
resource = "subtask"
id = "id"
project = "(select t.project_id from public.tasks t where t.id = task_id)"
[[watch]]
table = "label_uses"
resource = "label_use"
id = "id"
project = "project_id"
[[watch]]
table = "readings"
resource = "reading"
id = "changed.id"
project = "project_id"
ignore = ["touched_at"]
[[watch]]
table = "entries"
resource = "entry"
id = "id"
project = "project_id"
[[watch]]
table = "documents"
resource = "document"
id = "id"
project = "project_id"
[[watch]]
table = "papers"
resource = "paper"
id = "id"
project = "project_id"
[[watch]]
table = "pages"
resource = "page"
id = "id"
project = "(select d.project_id from public.documents d where d.id = changed.document_id)"
"""

Told = list[tuple[str, ...]]
BULK = ("reconnect", "bulk_change")


@dataclass(frozen=True)
class Way:
    """One way to change rows, and what each project's client is told of it, in any order."""

    name: str
    sql: str
    apollo: Told
    gemini: Told = field(default_factory=list)
    before: str = ""


def note(action: str, id_: int) -> tuple[str, ...]:
    return ("note", action, str(id_))


A_NOTE = f"insert into notes values (1, '{APOLLO}', 'a', '{{}}')"
NO_JSONB = A_NOTE + """; update notes set extra = '{"a": "\\u0000"}'"""
READING = f"insert into readings values (1, 'a', '{APOLLO}')"
PATHS = [
    Way("INSERT", A_NOTE, [note("INSERT", 1)]),
    Way("UPDATE", "update notes set body = 'b'", [note("UPDATE", 1)], before=A_NOTE),
    Way(
        "UPDATE of a json column",
        "update notes set extra = '[]'",
        [note("UPDATE", 1)],
        before=A_NOTE,
    ),
    Way("UPDATE of ignored columns", "update notes set touched_at = now()", [], before=A_NOTE),
    Way(
        "beside json that is no jsonb: ignored columns",
        "update notes set touched_at = now()",
        [],
        before=NO_JSONB,
    ),
    Way(
        "beside json that is no jsonb: its own text",
        """update notes set extra = '{ "a": "\\u0000" }'""",
        [note("UPDATE", 1)],
        before=NO_JSONB,
    ),
    Way(
        "beside json that is no jsonb, in a tree: told, whatever changed",
        "update readings set touched_at = now()",
        [("reading", "UPDATE", "1")],
        before=READING + """; update readings set extra = '{"a": "\\u0000"}'""",
    ),
    Way("DELETE", "delete from notes", [note("DELETE", 1)], before=A_NOTE),
    Way(
        "upsert, both halves",
        f"insert into notes values (1, '{APOLLO}', 'c'), (2, '{APOLLO}', 'c')"
        " on conflict (id) do update set body = excluded.body",
        [note("UPDATE", 1), note("INSERT", 2)],
        before=A_NOTE,
    ),
    Way(
        "MERGE",
        f"merge into notes n using (values (1), (2)) v (id) on n.id = v.id"
        f" when matched then delete when not matched then insert values (v.id, '{APOLLO}')",
        [note("DELETE", 1), note("INSERT", 2)],
        before=A_NOTE,
    ),
    Way(
        "a changed id",
        "update notes set id = 7",
        [note("UPDATE", 1), note("UPDATE", 7)],
        before=A_NOTE,
    ),
    Way(
        "a move, with ignored columns",
        f"update notes set project_id = '{GEMINI}'",
        [note("UPDATE", 1)],
        [note("UPDATE", 1)],
        before=A_NOTE,
    ),
    Way("a project of NULL", "insert into notes values (1, null)", []),
    Way(
        "a move to no project",
        "update notes set project_id = null",
        [note("UPDATE", 1)],
        before=A_NOTE,
    ),
    Way(
        "an updatable view",
        "update open_notes set body = 'closed'",
        [note("UPDATE", 1)],
        before=A_NOTE,
    ),
    Way(
        "a rule",
        "create rule copied as on insert to labels"
        " do also insert into notes values (1, new.project_id);"
        f"insert into labels values ('x', '{APOLLO}')",
        [note("INSERT", 1)],
    ),
    Way(
        "replica role",
        "set session_replication_role = replica; update notes set body = 'r';"
        "reset session_replication_role",
        [note("UPDATE", 1)],
        before=A_NOTE,
    ),
    Way(
        "row-level security, and a role without rights on our schema",
        "alter table notes enable row level security;"
        "create policy everything on notes using (true);"
        "grant select, update on notes to {writer}; set role {writer};"
        "update notes set body = 's'; reset role",
        [note("UPDATE", 1)],
        before=A_NOTE,
    ),
    Way(
        "quoted names and a composite id",
        f'insert into "Shop"."Order Lines" values (7, 1, \'{APOLLO}\');'
        'update "Shop"."Order Lines" set line = 2',
        [("line", "INSERT", "7/1"), ("line", "UPDATE", "7/1"), ("line", "UPDATE", "7/2")],
    ),
    Way(
        "a project by its parent",
        f"insert into subtasks values (1, 's', '{TASK}')",
        [("subtask", "INSERT", "1")],
    ),
    Way(
        "a parent that moves widens both projects",
        f"update tasks set project_id = '{GEMINI}' where id = '{TASK}'",
        [BULK],
        [BULK],
        before=f"insert into subtasks values (1, 's', '{TASK}')",
    ),
    Way(
        "a parent that is gone may concern anybody",
        f"delete from tasks where id = '{TASK}'",
        [BULK],
        [BULK],
        before=f"insert into subtasks values (1, 's', '{TASK}')",
    ),
    Way(
        "on update cascade, on delete cascade",
        "update labels set name = 'y'; delete from labels",
        [("label_use", "UPDATE", "1"), ("label_use", "DELETE", "1")],
        before="insert into labels values ('x');"
        f"insert into label_uses values (1, 'x', '{APOLLO}')",
    ),
    Way("a partitioned table", READING, [("reading", "INSERT", "1")]),
    Way(
        "a partition itself",
        f"insert into readings_b1 values (2, 'b', '{APOLLO}');"
        "update readings_b set id = 3; delete from readings_b1",
        [
            ("reading", "INSERT", "2"),
            ("reading", "UPDATE", "2"),
            ("reading", "UPDATE", "3"),
            ("reading", "DELETE", "3"),
        ],
    ),
    Way(
        "a row that moves to another partition",
        "update readings set kind = 'b'",
        [("reading", "UPDATE", "1")],
        before=READING,
    ),
    Way(
        "a row that moves to another partition and project",
        f"update readings set kind = 'b', project_id = '{GEMINI}'",
        [("reading", "UPDATE", "1")],
        [("reading", "UPDATE", "1")],
        before=READING,
    ),
    Way(
        "a row that moves in a tree where nothing is ignored",
        f"update entries set project_id = '{GEMINI}'",
        [("entry", "UPDATE", "1")],
        [("entry", "UPDATE", "1")],
        before=f"insert into entries values (1, '{APOLLO}')",
    ),
    Way(
        "ignored columns in a tree",
        "update readings set touched_at = now()",
        [],
        before=READING,
    ),
    Way(
        "an inheritance child, by itself and by its parent",
        f"insert into memos values (1, '{APOLLO}', '[]', 'r');"
        "update papers set extra = '[1]'; delete from memos",
        [("paper", action, "1") for action in ("INSERT", "UPDATE", "DELETE")],
    ),
    Way(
        "a parent in a tree that moves widens both projects",
        f"update documents set project_id = '{GEMINI}'",
        [BULK],
        [BULK],
        before=f"insert into letters values (1, '{APOLLO}', 't', '[]', 'r')",
    ),
    Way(
        "TRUNCATE with CASCADE",
        "truncate labels cascade",
        [("reconnect", "truncate")],
        [("reconnect", "truncate")],
    ),
    Way(
        "in bulk: a project over the threshold is one reconnect, the other is exact",
        "insert into label_uses select n, null, case when n < 7 then"
        f" '{APOLLO}'::uuid else '{GEMINI}' end from generate_series(1, 8) n",
        [BULK],
        [("label_use", "INSERT", "7"), ("label_use", "INSERT", "8")],
    ),
    Way(
        "in bulk, below the threshold",
        f"insert into label_uses select n, null, '{APOLLO}' from generate_series(1, 5) n",
        [("label_use", "INSERT", str(number)) for number in range(1, 6)],
    ),
    Way(
        "in bulk: beside a project over the threshold, a row whose parent is gone",
        "insert into pages select n, case when n < 8 then 1 else 404 end"
        " from generate_series(1, 8) n",
        [BULK],
        [BULK],
        before=f"insert into documents values (1, '{APOLLO}', 't')",
    ),
    Way(
        "in bulk, in a tree",
        "update readings set id = id + 100",
        [BULK],
        before=f"insert into readings select n, 'a', '{APOLLO}' from generate_series(1, 5) n;"
        f"insert into readings select n, 'a', '{APOLLO}' from generate_series(6, 9) n",
    ),
    Way(
        "neverstale.notify()",
        f"select neverstale.notify('report', 'UPDATE', '{APOLLO.upper()}', '7')",
        [("report", "UPDATE", "7")],
    ),
    Way(
        "a savepoint that is rolled back",
        "begin; savepoint s; update notes set body = 'x'; rollback to s;"
        "update tasks set title = 'x' where id = '" + OTHER_TASK + "'; commit",
        [("task", "UPDATE", OTHER_TASK)],
        before=A_NOTE,
    ),
]


@pytest.fixture
async def clients(world: World, tmp_path: Path) -> AsyncIterator[dict[str, Client]]:
    await world.database.execute(SCHEMA)
    config = tmp_path / "invalidation.toml"
    config.write_text(CONFIG)
    world.more["NEVERSTALE_CONFIG"] = str(config)
    code, _, errors = await world.command("listener", "install")
    assert (code, errors) == (0, "")
    assert (await world.command("neverstale", "check"))[0] == 0
    await world.listener()
    gateway = await world.gateway()
    async with AsyncExitStack() as stack:
        yield {
            APOLLO: await stack.enter_async_context(
                world.client(gateway, world.apollo, world.ada, v1=True)
            ),
            GEMINI: await stack.enter_async_context(
                world.client(gateway, world.gemini, world.grace, v1=True)
            ),
        }


def short(frame: dict[str, Any]) -> tuple[str, ...]:
    if is_reset(frame):
        return ("reconnect", frame["data"]["reason"])
    return (frame["resource"], frame["action"], frame["data"]["id"])


async def told_until_marked(world: World, clients: dict[str, Client]) -> dict[str, Told]:
    """What each client was told up to a mark of its own, which comes after all before it."""
    told = {}
    for project_id, client in clients.items():
        mark = ("mark", "UPDATE", secrets.token_hex(4))

        async def send_mark(*, project_id: str = project_id, id_: str = mark[2]) -> None:
            await world.database.execute(
                "select neverstale.notify('mark', 'UPDATE', $1, $2)", project_id, id_
            )

        await send_mark()
        frames: Told = []
        while mark not in frames:
            frames.append(short(await client.next()))
            if frames[-1][0] == "reconnect":  # it may have covered the mark
                await send_mark()
        told[project_id] = [frame for frame in frames if frame[0] != "mark"]
    return told


async def until_retold(world: World) -> None:
    """What is below moved parents has been logged once more."""
    async with asyncio.timeout(HANG_SECONDS):
        while await world.database.fetchval("select count(*) from neverstale.moved"):
            await asyncio.sleep(0.02)


async def test_a_child_that_is_written_while_its_parent_moves_is_told_where_it_is_now(
    world: World, clients: dict[str, Client]
) -> None:
    await world.database.execute(
        f"insert into documents values (1, '{APOLLO}', 't'); insert into pages values (1, 1)"
    )
    await told_until_marked(world, clients)
    writer = await asyncpg.connect(world.database_url)
    writing = writer.transaction()
    await writing.start()
    await writer.execute("delete from pages")
    await world.database.execute(f"update documents set project_id = '{GEMINI}'")
    assert BULK in (await told_until_marked(world, clients))[GEMINI]
    await writing.commit()  # Gemini's clients have read the page in the meantime
    await writer.close()
    await until_retold(world)
    assert (await told_until_marked(world, clients))[GEMINI] == [BULK]


async def test_every_path_is_told_exactly(world: World, clients: dict[str, Client]) -> None:
    writer = f"writer_{world.database_url.rpartition('_')[2]}"
    await world.database.execute(f"create role {writer}")
    tables = (
        "notes",
        "subtasks",
        "labels",
        "label_uses",
        "readings",
        "entries",
        "documents",
        LINES,
    )
    clear = "".join(f"delete from {table};" for table in tables)
    for path in PATHS:
        if path.before:
            await world.database.execute(path.before)
        await until_retold(world)
        await told_until_marked(world, clients)
        await world.database.execute(
            path.sql.format(writer=writer) if "{writer}" in path.sql else path.sql
        )
        told = await told_until_marked(world, clients)
        for project_id, expected in ((APOLLO, path.apollo), (GEMINI, path.gemini)):
            assert sorted(set(told[project_id])) == sorted(expected), (path.name, project_id)
        await world.database.execute(f"drop rule if exists copied on labels; {clear}")
        await world.database.execute(
            f"insert into tasks (id, project_id, title) values ('{TASK}', '{APOLLO}', 't')"
            f" on conflict (id) do update set project_id = excluded.project_id"
        )


async def test_copy_is_told(world: World, clients: dict[str, Client]) -> None:
    rows = [(number, UUID(APOLLO)) for number in range(1, 4)]
    await world.database.copy_records_to_table(
        "notes", records=rows, columns=["id", "project_id"]
    )
    told = await told_until_marked(world, clients)
    assert sorted(told[APOLLO]) == [note("INSERT", number) for number in range(1, 4)]


async def test_migrations_go_on_beside_ignored_columns(
    world: World, clients: dict[str, Client]
) -> None:
    await world.database.execute(A_NOTE)
    await told_until_marked(world, clients)
    for migration in (
        "add column priority int",
        "alter column priority type bigint",
        "rename column body to text",
        "drop column extra",
    ):
        await world.database.execute(f"alter table notes {migration}")
        await world.database.execute("update notes set priority = coalesce(priority, 0) + 1")
        assert (await told_until_marked(world, clients))[APOLLO] == [note("UPDATE", 1)]
    await world.database.execute("update notes set touched_at = now()")
    assert (await told_until_marked(world, clients))[APOLLO] == []


async def test_a_change_that_a_writer_sees_rounded_counts(
    world: World, clients: dict[str, Client]
) -> None:
    """A comparison as text is shaped by the settings of the session that writes."""
    await world.database.execute("alter table notes add column ratio float8 default 0.1")
    await world.database.execute(A_NOTE)
    await told_until_marked(world, clients)
    await world.database.execute("set extra_float_digits = 0")
    await world.database.execute("update notes set ratio = 0.10000000000000002")
    assert (await told_until_marked(world, clients))[APOLLO] == [note("UPDATE", 1)]


async def test_check_tells_what_differs(world: World, clients: dict[str, Client]) -> None:
    await world.database.execute(
        """
        create table readings_c partition of readings for values in ('c');
        alter table notes disable trigger neverstale_insert;
        create function tell() returns trigger language plpgsql as
          'begin perform pg_notify(''cache_invalidate'', ''{}''); return null; end';
        create trigger tell after insert on labels execute function tell();
        """
    )
    code, _, errors = await world.command("neverstale", "check")
    assert code == 1
    assert 'neverstale_update on "public"."readings_c" is missing' in errors
    assert 'neverstale_insert on "public"."notes" is missing or differs' in errors
    assert "trigger tell on public.labels sends cache_invalidate" in errors
    assert (await world.command("listener", "install"))[0] == 0
    await world.database.execute("drop trigger tell on labels")
    assert (await world.command("neverstale", "check"))[0] == 0
    await world.database.execute("alter table notes rename column project_id to project")
    code, _, errors = await world.command("neverstale", "check")
    assert (code, "watch (notes) project: 'project_id' is no column" in errors) == (1, True)

"""Migrations beside a running leader: capture that ends is seen, told and reset, and what can't
be asked for a while ends nobody.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import asyncpg
import pytest

from listener.leader.change_log import read_capture
from listener.setup.install import Config, disable, install
from shared.config.config_file import read_config
from tests.support.changes import assert_flows, is_reset
from tests.support.inspection import state, until_state
from tests.support.processes import HANG_SECONDS, ROOT, Client, Part
from tests.support.world import World

NOT_CAPTURED = "changes are not captured: run neverstale install"
SCHEMA = """
create table parts (id int, kind text, project_id uuid) partition by list (kind);
create table parts_a partition of parts for values in ('a');
create table parts_b partition of parts for values in ('b');
create table notes (id int primary key, project_id uuid, title text);
create table pages (id int primary key, project_id uuid);
create table lines (id int primary key, project_id uuid);
"""
WATCHES = "".join(
    f'\n[[watch]]\ntable = "{table}"\nresource = "{table}"\nid = "id"\nproject = "project_id"\n'
    for table in ("parts", "notes", "pages", "lines")
)


def write_config(path: Path, watches: str) -> Config:
    """These watches, and the demo's."""
    path.write_text(watches + (ROOT / "invalidation.toml").read_text())
    return Config.parse(read_config(path), log_max_bytes=2**30)


@pytest.fixture
async def config(world: World, tmp_path: Path) -> Config:
    """Installed, with some tables more than the demo's."""
    await world.database.execute(SCHEMA)
    path = tmp_path / "invalidation.toml"
    world.more["NEVERSTALE_CONFIG"] = str(path)
    config = write_config(path, WATCHES)
    await install(world.database, config)
    return config


@asynccontextmanager
async def live(world: World) -> AsyncIterator[tuple[Part, Client]]:
    """A leader, and a client that it keeps up to date."""
    listener = await world.listener()
    gateway = await world.gateway()
    async with world.client(gateway, world.apollo, world.ada) as client:
        await until_state(world, "live", "1")
        await assert_flows(world, client)
        yield listener, client


async def until_reset_since(world: World, generation: str, client: Client) -> None:
    """Wait until everybody was reset, and is live again."""
    async with asyncio.timeout(HANG_SECONDS):
        while (await state(world, "generation")) == generation:
            await asyncio.sleep(0.02)
    await until_state(world, "live", "1")
    await client.until(is_reset)


async def function_of(world: World, table: str, trigger: str) -> str:
    function: str = await world.database.fetchval(
        "select tgfoid::regproc::text from pg_trigger"
        " where tgrelid = $1::text::regclass and tgname = $2",
        table,
        trigger,
    )
    return function


async def definition_of(world: World, function: str) -> str:
    definition: str = await world.database.fetchval(
        "select pg_get_functiondef($1::text::regproc)", function
    )
    return definition


async def replace_function(world: World, function: str, source: str) -> None:
    await world.database.execute(
        f"create or replace function {function}() returns trigger language plpgsql"
        f" security definer set search_path = pg_catalog, pg_temp as $x${source}$x$"
    )


ENABLE_NOTES = "".join(
    f"alter table notes enable always trigger neverstale_{name};"
    for name in ("insert", "update", "delete", "truncate", "moved")
)
NOTHING = "begin return null; end"


async def test_each_way_in_which_capture_ends_is_seen_and_mended_by_install(
    world: World, config: Config
) -> None:
    function = await function_of(world, "lines", "neverstale_insert")
    breaks = {
        "alter table notes rename to notes_old;"
        "create table notes (like notes_old including all)": '"notes" has lost 5 of its',
        "drop table pages;"
        "create table pages (id int primary key, project_id uuid)": '"pages" has lost 5 of its',
        "create table parts_c partition of parts for values in ('c')": "parts_c, below",
        "alter table lines disable trigger neverstale_update": '"lines" is not enabled always',
        "drop trigger neverstale_delete on lines": '"lines" has lost 1 of its',
        f"comment on function {function}() is null": f"{function} is not what was installed",
        f"alter function {await function_of(world, 'lines', 'neverstale_update')}()"
        " security invoker": "lines_update",
    }
    assert (await read_capture(world.database)).differences == ()
    for number, (sql, told) in enumerate(breaks.items(), start=1):
        await world.database.execute(sql)
        differences = (await read_capture(world.database)).differences
        assert len(differences) == number, differences
        assert any(told in one for one in differences), (told, differences)
    # told by `check` even where a table of the file is gone
    await world.database.execute("alter table tasks rename to jobs")
    code, _, errors = await world.command("neverstale", "check")
    assert (code, "watch (tasks) table: there is no such table" in errors) == (1, True)
    assert all(told in errors for told in breaks.values())
    await world.database.execute("alter table jobs rename to tasks")
    await install(world.database, config)
    assert (await read_capture(world.database)).differences == ()
    assert (await world.command("neverstale", "check"))[::2] == (0, "")


async def test_each_break_that_was_undone_is_seen(world: World, config: Config) -> None:
    function = await function_of(world, "lines", "neverstale_insert")
    original = await definition_of(world, function)
    undone = (
        f"alter table notes disable trigger all; {ENABLE_NOTES}",
        f"drop trigger neverstale_moved on notes; create trigger neverstale_moved after update"
        f" on notes for each row execute function"
        f" {await function_of(world, 'notes', 'neverstale_moved')}(); {ENABLE_NOTES}",
        "alter table parts detach partition parts_a;"
        "alter table parts attach partition parts_a for values in ('a')",
        f"create or replace function {function}() returns trigger language plpgsql"
        f" as $x$ {NOTHING} $x$; {original}",
        "drop table parts_b",
        "drop table pages",
    )
    capture = await read_capture(world.database)
    seen = {capture.fingerprint}
    for sql in undone:
        async with world.database.transaction():
            await world.database.execute(sql)
        capture = await read_capture(world.database)
        assert capture.differences == (), sql
        assert capture.fingerprint not in seen, sql
        seen.add(capture.fingerprint)
    # and what migrations do every day is no break
    for sql in (
        "alter table notes add column body text default 'x'",
        "create index on notes (project_id)",
        "grant select on notes to public",
        "alter table notes rename to pads",
        "analyze pads; truncate pads",
    ):
        await world.database.execute(sql)
        assert await read_capture(world.database) == capture, sql


async def test_capture_that_ends_is_not_live_and_reset_once_it_is_whole(
    world: World, config: Config
) -> None:
    function = await function_of(world, "lines", "neverstale_insert")
    original = await definition_of(world, function)
    briefly = (
        "begin; alter table notes disable trigger all;"
        f" insert into notes values (7, '{world.apollo}'); {ENABLE_NOTES}"
        " delete from notes; commit"
    )
    async with live(world) as (listener, client):
        await world.database.execute("drop trigger neverstale_insert on notes")
        await until_state(world, "live", "0")
        assert listener.logged(NOT_CAPTURED, count=1)
        await assert_flows(world, client)
        generation = await state(world, "generation")
        await install(world.database, config)
        await until_reset_since(world, generation, client)

        # over before anybody looks, while one leads and while nobody does
        generation = await state(world, "generation")
        await world.database.execute(briefly)
        await until_reset_since(world, generation, client)
        await listener.end()
        generation = await state(world, "generation")
        await world.database.execute(briefly)
        listener = await world.listener()
        await until_reset_since(world, generation, client)

        # without a lock that a writer waits for: the reset waits for whoever wrote meanwhile
        generation = await state(world, "generation")
        await replace_function(world, function, NOTHING)
        writer = await asyncpg.connect(world.database_url)
        writing = writer.transaction()
        await writing.start()
        await writer.execute("insert into lines values (1, $1)", world.apollo)
        await world.database.execute(original)
        await until_state(world, "live", "0")
        await assert_flows(world, client)
        assert await state(world, "generation") == generation
        await writing.commit()
        await writer.close()
        await until_reset_since(world, generation, client)
        await assert_flows(world, client)


async def test_members_that_a_migration_takes_away_are_waited_out(
    world: World, config: Config
) -> None:
    """The gateway's clients lose their access meanwhile, and come back."""
    listener = await world.listener()
    gateway = await world.gateway()
    await until_state(world, "live", "1")
    for sql, mending in (
        (
            "alter table project_members rename to people",
            "alter table people rename to project_members",
        ),
        (
            "alter table projects rename owner_id to boss",
            "alter table projects rename boss to owner_id",
        ),
    ):
        generation = await state(world, "generation")
        await world.database.execute(sql)
        await world.database.execute(
            "select neverstale.notify('project', 'UPDATE', $1, $1)", world.apollo
        )
        await until_state(world, "live", "0")
        assert listener.logged("members query failed")
        await world.database.execute(mending)
        async with asyncio.timeout(HANG_SECONDS):
            while await state(world, "generation") == generation:
                await asyncio.sleep(0.02)
        await until_state(world, "live", "1")
    async with world.client(gateway, world.apollo, world.ada) as client:
        await assert_flows(world, client)
    await listener.ready(world.http, role="leader")


# docs/how-to/migrations.md, "Migrations": the change, where "notes" is then, and its project
RECIPES = {
    "retyped": (
        "drop trigger neverstale_moved on notes; alter table notes alter id type text",
        "notes",
        "project_id",
    ),
    "a renamed column": (
        "alter table notes rename project_id to board_id",
        "notes",
        "board_id",
    ),
    "a renamed table": ("alter table notes rename to pads", "pads", "board_id"),
    "a swapped table": (
        "create table pads_new (like pads including all);"
        "lock table pads; insert into pads_new select * from pads;"
        "alter table pads rename to pads_old; alter table pads_new rename to pads",
        "pads",
        "board_id",
    ),
}


async def test_documented_migrations_go_on_beside_a_leader_and_writers(
    world: World, config: Config
) -> None:
    name = "notes"
    writer = await asyncpg.connect(world.database_url)

    async def write() -> None:
        while True:
            with suppress(asyncpg.UndefinedTableError):  # its name is the app's to follow
                await writer.execute(f"update {name} set title = 'x'")
            await asyncio.sleep(0.02)

    async with live(world) as (listener, client), asyncio.TaskGroup() as tasks:
        await world.database.execute("insert into notes values (1, $1)", world.apollo)
        writing = tasks.create_task(write())
        for sql, table, project in RECIPES.values():
            generation = await state(world, "generation")
            await disable(world.database)
            async with world.database.transaction():
                await world.database.execute(sql)
            name = table
            path = Path(world.more["NEVERSTALE_CONFIG"])
            watch = (
                f'[[watch]]\ntable = "{table}"\nresource = "note"\nid = "id"\n'
                f'project = "{project}"\n'
            )
            await install(world.database, write_config(path, watch))
            await until_reset_since(world, generation, client)
            await client.until(lambda frame: frame.get("resource") == "note")
        writing.cancel()
    await writer.close()
    await listener.ready(world.http, role="leader")
    code, _, errors = await world.command("neverstale", "check")
    assert code == 0, errors


async def test_ids_that_are_retyped_are_asked_for_by_the_same_sessions(
    world: World, tmp_path: Path
) -> None:
    """The collation of what a query returns is part of a plan that sessions cache."""
    await world.database.execute(
        "create table boards (id int primary key, owner text, name text);"
        "insert into boards values (1, 'ada', 'one'), (2, 'ada', 'two')"
    )
    path = tmp_path / "invalidation.toml"
    path.write_text(
        '[[watch]]\ntable = "boards"\nresource = "board"\nid = "id"\nproject = "id"\n'
        '[access]\nproject_type = "bigint"\nuser_type = "text"\n'
        'query = "select id, owner from boards where id = any ($1::text[]::int[])'
        ' and owner = any ($2::text[])"\n'
        'members = "select id, owner from boards where id = any ($1::text[]::int[])"\n'
    )
    world.more["NEVERSTALE_CONFIG"] = str(path)
    assert await world.install() == 0
    listener = await world.listener()
    gateway = await world.gateway()
    async with world.client(gateway, "1", "ada") as client:
        await world.database.execute("update boards set name = 'a' where id = 1")
        await client.next()
        await world.database.execute(
            'alter table boards alter owner type varchar(20) collate "C"'
        )
        async with world.client(gateway, "2", "ada") as second:
            await world.database.execute("update boards set name = 'b'")
            for one in (client, second):
                assert (await one.next())["type"] == "cache_invalidate"
    assert not listener.logged("members query failed")
    assert not gateway.logged("access queries failed")


async def test_install_with_too_little_lock_memory_names_the_setting(own_world: World) -> None:
    world = own_world
    assert (await world.command("listener", "disable"))[0] == 0
    with pytest.raises(asyncpg.OutOfMemoryError):
        await world.database.execute(
            "select pg_advisory_lock(n) from generate_series(1, 1000000) as n"
        )
    await world.database.execute(
        "select pg_advisory_unlock(n) from generate_series(1, 30) as n"
    )
    code, _, errors = await world.command("listener", "install")
    assert (code, "max_locks_per_transaction (now 64)" in errors) == (1, True), errors
    for command in ("check", "sql"):
        code, _, errors = await world.command("neverstale", command)
        assert "Traceback" not in errors
        assert (code, "max_locks_per_transaction" in errors) in ((0, False), (1, True)), errors
    await world.database.execute("select pg_advisory_unlock_all()")
    assert await world.install() == 0

"""Databases with encodings other than UTF-8, and values that are not valid UTF-8."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import asyncpg

from tests.support.database import Database
from tests.support.inspection import metric
from tests.support.processes import Part, eventually
from tests.support.subscriber import Subscriber, subscribed
from tests.support.world import World

_TABLES: Final = """
create table projects (id text, owner_id text);
create table project_members (project_id text, user_id text);
create table tasks (id text, project_id text);
"""
_CONFIG: Final = """
[[watch]]
table = "projects"
resource = "project"
id = "id"
project = "id"
user = "owner_id"
[[watch]]
table = "tasks"
resource = "task"
id = "id"
project = "project_id"
[access]
project_type = "text"
user_type = "text"
"""
_BAD: Final = "convert_from('\\xff', 'SQL_ASCII')"
_ROW: Final = "a row of the change log can't be read, its project or everything is reset"


@asynccontextmanager
async def database_in(world: World, tmp_path: Path, encoding: str) -> AsyncIterator[Database]:
    """Make the world's parts use a new database in this encoding, with Neverstale installed."""
    name = f"{world.prefix[:-1]}_{encoding.lower()}"
    await world.database.execute(
        f"create database {name} encoding '{encoding}' lc_collate 'C' lc_ctype 'C'"
        " template template0"
    )
    config = tmp_path / "invalidation.toml"
    config.write_text(_CONFIG)
    url = world.servers.postgres.database_url(name)
    world.more |= {"DATABASE_URL": url, "NEVERSTALE_CONFIG": str(config)}
    database = await asyncpg.connect(url)
    try:
        await database.execute(_TABLES)
        code, _, errors = await world.command("listener", "install")
        assert (code, errors) == (0, "")
        yield database
    finally:
        await database.close()


async def told(database: Database, subscriber: Subscriber, *statements: str) -> set[str]:
    """Run the statements in one transaction. Return what each channel is sent."""
    mark = "select neverstale.notify('mark', 'UPDATE', 'zz', '1')"
    async with database.transaction():
        for statement in (*statements, mark):
            await database.execute(statement)
    found = set()
    while (heard := await subscriber.next()).channel != "project:zz":
        found.add(" ".join(heard.short))
    return found


async def test_a_row_with_invalid_text_resets_only_its_project(
    world: World, tmp_path: Path
) -> None:
    async with database_in(world, tmp_path, "SQL_ASCII") as database:
        listener = await world.listener()
        async with subscribed(world) as subscriber:
            assert await told(database, subscriber) == set()
            assert await told(
                database,
                subscriber,
                f"insert into tasks values ({_BAD}, 'p'), ('1', 'q')",
            ) == {"project:p reconnect bulk_change", "project:q task INSERT 1"}
            many = "insert into tasks select '1', 'q' from generate_series(1, 6000)"
            found = await told(
                database, subscriber, f"insert into tasks values ({_BAD}, 'p')", many
            )
            assert "project:p reconnect bulk_change" in found
            assert listener.logged(_ROW)
            assert await metric(world, listener, "neverstale_log_unreadable_total") == 2
            assert resets(listener) == 0
            await database.execute(f"insert into project_members values ('p', {_BAD})")
            # its project, and the members of p, can't be read
            for number, row in enumerate(
                (f"tasks values ('1', {_BAD})", "projects values ('p')")
            ):
                await database.execute(f"insert into {row}")
                await eventually(lambda: resets(listener) == number + 1, "all were reset")  # noqa: B023
            await database.execute(f"select pg_notify('cache_invalidate', {_BAD})")
            await eventually(lambda: listener.logged("postgresql lost"), "it ends a session")
            await listener.ready(world.http, role="leader")
            found = await told(database, subscriber, "insert into tasks values ('2', 'q')")
            assert "project:q task INSERT 2" in found


async def test_characters_of_another_encoding_are_published_unchanged(
    world: World, tmp_path: Path
) -> None:
    async with database_in(world, tmp_path, "LATIN1") as database:
        listener = await world.listener()
        async with subscribed(world) as subscriber:
            assert await told(database, subscriber, "insert into tasks values ('é', 'ü')") == {
                "project:ü task INSERT é"
            }
            # a JSON escape can name a character that the database's encoding lacks
            payload = '{"resource":"x","action":"UPDATE","project_id":"q","id":"\\u65e5"}'
            await database.execute("select pg_notify('cache_invalidate', $1)", payload)
            await eventually(
                lambda: listener.logged("notifications could not be written to the change log"),
                "told",
            )
            await eventually(
                lambda: listener.logged("reset", reason="notify_reconnect"), "told"
            )
            found = await told(database, subscriber, "insert into tasks values ('2', 'q')")
            assert "project:q task INSERT 2" in found


async def test_names_with_invalid_text_are_reported_by_each_command(
    world: World, tmp_path: Path
) -> None:
    async with database_in(world, tmp_path, "SQL_ASCII") as database:
        await database.execute(
            f"do $$begin execute format('create table %I (id int primary key)', {_BAD}); end$$"
        )
        assert (await world.command("neverstale", "check"))[0] == 0, "it is not watched"
        output = str(tmp_path / "new.toml")
        code, _, errors = await world.command("listener", "init", "--output", output)
        assert code == 1
        assert "invalid byte sequence" in errors
        assert "Traceback" not in errors
        await database.execute(
            f"do $$begin execute format('alter table tasks rename id to %I', {_BAD}); end$$"
        )
        for command in ("check", "install", "sql"):
            code, _, errors = await world.command("neverstale", command)
            assert code == 1
            assert "invalid byte sequence" in errors
            assert "Traceback" not in errors


def asking_too_much(config: str) -> str:
    """A configuration whose query of members always reads the invalid row."""
    path = Path(config).with_name("more.toml")
    members = "select project_id, user_id from project_members"
    query = "select * from unnest($1::text[], $2::text[])"
    path.write_text(f'{_CONFIG}query = "{query}"\nmembers = "{members}"\n')
    return str(path)


def resets(listener: Part) -> int:
    """Return how often everything was reset because of a row."""
    return sum(
        line["message"] == "reset" and line["reason"] == "bulk_change"
        for line in listener.lines
    )

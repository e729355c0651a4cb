"""Values that are too long for an id or a resource: what is logged, read and told."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import asyncpg
import pytest

from listener.capture.triggers import LOG_BYTES
from listener.leader.change_log import ChangeLog
from listener.leader.log_row import LogRow
from listener.leader.publication import PublicationRules
from shared.config.access_rules import AccessRules
from tests.support.changes import is_reset
from tests.support.watches import watch
from tests.support.world import World

MEBIBYTE = 2**20
RULES = PublicationRules(AccessRules("text", "text", "", ""), frozenset({"project"}), 1000)
# more characters than bytes fit, and none of them compresses away
HUGE = "(select string_agg(md5(n::text) || 'ä', '') from generate_series(1, 100000) n)"
TABLE = """
create table t (id text, project text, owner text, data json);
insert into t values ('1', 'p', 'u'), ('2', 'p', 'u');
"""


@pytest.fixture
def configure(world: World, tmp_path: Path) -> Callable[[str], object]:
    path = tmp_path / "invalidation.toml"
    world.more["NEVERSTALE_CONFIG"] = str(path)
    return path.write_text


async def longest(world: World) -> int:
    """The most bytes that a value in the log has."""
    return int(
        await world.database.fetchval(
            "select max(greatest(octet_length(project_id), octet_length(user_id),"
            " octet_length(resource), octet_length(id), octet_length(action)))"
            " from neverstale.change_log"
        )
    )


async def toast_bytes(world: World) -> int:
    return int(
        await world.database.fetchval(
            "select pg_relation_size(reltoastrelid) from pg_class"
            " where oid = 'neverstale.change_log'::regclass"
        )
    )


@pytest.mark.parametrize("ids", ["columns", "expressions"])
async def test_a_value_of_megabytes_is_logged_as_a_short_one_that_still_is_too_long(
    world: World, configure: Callable[[str], object], ids: str
) -> None:
    own = {"id": "id", "project": "project", "user": "owner"}
    if ids == "expressions":
        own = {key: f"{column} || ''" for key, column in own.items()}
    configure(watch("t", **own))
    await world.database.execute(TABLE)
    assert (await world.command("listener", "install"))[::2] == (0, "")
    log = ChangeLog(world.database, RULES)
    begin = (await log.read(None)).cursor
    await world.database.execute(f"update t set id = {HUGE} where id = '1'")
    await world.database.execute(f"update t set project = {HUGE}, owner = {HUGE}, id = {HUGE}")
    # only what is beyond the cut differs
    await world.database.execute("update t set project = project || 'x', id = id || 'x'")
    assert 512 < await longest(world) <= 4 * 513
    assert not await toast_bytes(world)
    read = [
        (row.project_id, row.user_id, row.id, row.action)
        for row in (await log.read(begin)).rows
    ]
    assert ("p", "u", None, "UPDATE") in read, "a change without a usable id"
    assert ("p", "u", "2", "UPDATE") in read, "what the row was before it moved"
    assert read.count(("", "", None, "UPDATE")) == 6, "nobody's: two moved, both were compared"


async def test_notify_refuses_what_is_too_long_and_drops_an_id_that_is(world: World) -> None:
    for arguments in (
        "repeat('x', 300000000), 'UPDATE', 'p'",
        "'', 'UPDATE', 'p'",
        f"'x', 'UPDATE', {HUGE}",
        "'x', 'UPDATE', ''",
        "'x', 'UPDATE', 'p', '1', repeat('ä', 257)",
    ):
        with pytest.raises(asyncpg.InvalidParameterValueError, match=r"256 bytes.* 512") as no:
            await world.database.execute(f"select neverstale.notify({arguments})")
        assert len(str(no.value)) < 200
    await world.database.execute(
        f"select neverstale.notify(repeat('x', 256), 'UPDATE', repeat('p', 512), {HUGE},"
        " repeat('u', 512))"
    )
    [row] = await world.database.fetch("select * from neverstale.change_log")
    assert (len(row["resource"]), len(row["project_id"]), row["id"]) == (256, 512, None)


async def insert(world: World, values: str) -> None:
    """What a role with rights on the log may do, or did an older version."""
    await world.database.execute(
        "insert into neverstale.change_log (project_id, user_id, resource, id, action, at)"
        f" values ({values})"
    )


UNSAYABLE = {
    "a resource": (f"'p', null, {HUGE}, '1', 'UPDATE', now()", ("p", None, "", "1", "UPDATE")),
    "an id": (f"'p', null, 'x', {HUGE}, 'UPDATE', now()", ("p", None, "x", None, "UPDATE")),
    "a project": (f"{HUGE}, null, 'x', '1', 'UPDATE', now()", ("", None, "x", "1", "UPDATE")),
    "a user": (f"'p', {HUGE}, 'x', '1', 'UPDATE', now()", ("p", "", "x", "1", "UPDATE")),
    "an action": (f"'p', null, 'x', '1', {HUGE}, now()", ("p", None, "x", "1", "")),
    "a project to reset": (
        f"{HUGE}, null, 'bulk_change', null, 'RECONNECT', now()",
        ("", None, "bulk_change", None, "RECONNECT"),
    ),
}
TIMES = {
    "forever": "'infinity'",
    "never": "'-infinity'",
    "BC": "'0044-03-15 BC'",
    "the year 10000": "'10000-01-01'",
}


@pytest.mark.parametrize("backlog", [0, 6000], ids=["read", "backlog"])
async def test_what_is_too_long_is_not_read(world: World, backlog: int) -> None:
    log = ChangeLog(world.database, RULES)
    begin = (await log.read(None)).cursor
    await world.database.execute(
        "insert into neverstale.change_log (project_id, resource, id, action)"
        f" select 'q', 'task', 'hot', 'UPDATE' from generate_series(1, {backlog})"
    )
    for values, _ in UNSAYABLE.values():
        await insert(world, values)
    read = {
        (row.project_id, row.user_id, row.resource, row.id, row.action)
        for row in (await log.read(begin)).rows
    }
    assert read - {("q", None, "task", "hot", "UPDATE")} == {
        row for _, row in UNSAYABLE.values()
    }


@pytest.mark.parametrize("backlog", [0, 6000], ids=["read", "backlog"])
@pytest.mark.parametrize("at", TIMES.values(), ids=TIMES)
async def test_a_time_that_cannot_be_written_is_not_read(
    world: World, at: str, backlog: int
) -> None:
    log = ChangeLog(world.database, RULES)
    begin = (await log.read(None)).cursor
    await world.database.execute(
        "insert into neverstale.change_log (project_id, resource, id, action)"
        f" select 'q', 'task', 'hot', 'UPDATE' from generate_series(1, {backlog})"
    )
    await insert(world, f"'p', null, 'x', '1', 'UPDATE', {at}")
    batch = await log.read(begin)
    assert LogRow("p", None, "x", "1", "UPDATE", None) in batch.rows
    assert batch.oldest_age >= 0
    assert all(isinstance(row.at, datetime) for row in batch.rows if row.project_id == "q")


async def test_such_rows_reset_their_project_and_others_hear_their_events(world: World) -> None:
    await world.listener()
    gateway = await world.gateway()
    async with (
        world.client(gateway, world.apollo, world.ada) as hurt,
        world.client(gateway, world.gemini, world.grace) as well,
    ):
        rows = [values for values, _ in UNSAYABLE.values()]
        rows += [f"'p', null, 'x', '1', 'UPDATE', {at}" for at in TIMES.values()]
        for values in rows:
            await insert(world, values.replace("'p'", f"'{world.apollo}'"))
            await world.database.execute(
                "select neverstale.notify('x', 'UPDATE', $1, '1')", world.gemini
            )
            assert (await well.next())["type"] == "cache_invalidate"
            if "'p'" in values:
                frame = await hurt.next()
                assert frame["project_id"] == world.apollo
                assert is_reset(frame) == (values != UNSAYABLE["a user"][0])


async def test_notify_skips_a_full_log_and_says_so_like_a_trigger(world: World) -> None:
    world.more["LOG_MAX_BYTES"] = str(MEBIBYTE)
    assert await world.install() == 0
    rows = "select count(*) from neverstale.change_log"
    while await world.database.fetchval(f"select {LOG_BYTES}") <= MEBIBYTE:
        await world.database.execute(
            "insert into neverstale.change_log (resource, action)"
            " select 'x', 'UPDATE' from generate_series(1, 500)"
        )
    heap = await world.database.fetchval("select pg_relation_size('neverstale.change_log')")
    assert heap < MEBIBYTE, "the index counts"
    log = ChangeLog(world.database, RULES)
    assert (await log.read(None)).is_skipping
    before = await world.database.fetchval(rows)
    skips = await world.database.fetchval("select nextval('neverstale.skips')")
    await world.database.execute("select neverstale.notify('x', 'UPDATE', 'p', '1')")
    await world.database.execute("update tasks set title = 'x'")
    assert await world.database.fetchval(rows) == before
    assert await world.database.fetchval("select nextval('neverstale.skips')") == skips + 3


async def test_an_installed_log_is_altered_once_and_no_writer_waits(world: World) -> None:
    options = "select reloptions from pg_class where oid = 'neverstale.change_log'::regclass"
    wanted = await world.database.fetchval(options)
    assert wanted == ["toast_tuple_target=8160"]
    await world.database.execute("alter table neverstale.change_log reset (toast_tuple_target)")
    writer = await asyncpg.connect(world.database_url)
    writing = writer.transaction()
    await writing.start()
    await writer.execute("update tasks set title = 'x'")
    assert await world.install() == 0, "a writer does not stand in its way"
    assert await world.database.fetchval(options) == wanted
    vacuuming = world.database.transaction()
    await vacuuming.start()
    await world.database.execute(
        "lock table neverstale.change_log in share update exclusive mode"
    )
    assert await world.install() == 0, "nothing was to be done, so no lock was taken"
    await vacuuming.rollback()
    await writing.commit()
    await writer.close()

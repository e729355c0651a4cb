"""A backlog is conflated by PostgreSQL as it is read: what it costs depends on the rows that
changed, not on how often they did.
"""

import asyncio
import os
import signal
from contextlib import suppress

import asyncpg
import pytest

from listener.leader.change_log import READ_SQL, ChangeLog
from listener.leader.leader_state import MAX_ROWS_PER_READ, SnapshotCursor
from listener.leader.log_row import LogRow
from listener.leader.publication import PublicationRules
from listener.leader.session import open_links
from shared.config.access_rules import AccessRules
from tests.support.processes import HANG_SECONDS
from tests.support.subscriber import subscribed
from tests.support.world import World

Row = tuple[str | None, str | None, str, str | None, str]
RULES = PublicationRules(
    AccessRules("text", "text", "", ""), frozenset({"project"}), max_rows=10
)


async def log(world: World, rows: str) -> None:
    """Log what the query gives: project, user, resource, id and action."""
    await world.database.execute(
        "insert into neverstale.change_log (project_id, user_id, resource, id, action) " + rows
    )


async def read_after(world: World, rows: str) -> list[LogRow]:
    """What a read gives after these rows and 6,000 more changes of one row of project q."""
    change_log = ChangeLog(world.database, RULES)
    before = (await change_log.read(None)).cursor
    await log(world, rows)
    await log(world, "select 'q', null, 'task', 'hot', 'UPDATE' from generate_series(1, 6000)")
    batch = await change_log.read(before)
    assert batch.cursor.identity == before.identity
    assert not (await change_log.read(batch.cursor)).rows, "its own snapshot is the cursor"
    assert batch.oldest_age >= 0
    return list(batch.rows)


HOT: Row = ("q", None, "task", "hot", "UPDATE")


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ("select 'p', null, 'task', '1', 'UPDATE' from generate_series(1, 9)",
         [("p", None, "task", "1", "UPDATE")]),
        ("select 'p', null, 'task', '1', unnest(array['INSERT', 'UPDATE', 'DELETE'])",
         [("p", None, "task", "1", action) for action in ("INSERT", "UPDATE", "DELETE")]),
        ("select 'p', null, 'task', n::text, 'UPDATE' from generate_series(1, 11) n",
         [("p", None, "bulk_change", None, "RECONNECT")]),
        ("select 'p', null, 'task', n::text, 'UPDATE' from generate_series(1, 10) n",
         [("p", None, "task", str(n), "UPDATE") for n in range(1, 11)]),
        ("select 'p', 'u' || n, 'project_members', 'p:u' || n, 'DELETE'"
         " from generate_series(1, 40) n",
         [("p", f"u{n}", "project_members", f"p:u{n}", "DELETE") for n in range(1, 41)]
         + [("p", None, "bulk_change", None, "RECONNECT")]),
        ("select 'p', null, 'task', n::text, 'UPDATE' from generate_series(1, 20) n"
         " union all select 'p', null, 'project', 'p', 'UPDATE'",
         [("p", None, "project", "p", "UPDATE"),
          ("p", None, "bulk_change", None, "RECONNECT")]),
        ("select 'p', 'u', 'message', n::text, 'INSERT' from generate_series(1, 101) n",
         [("p", None, "bulk_change", None, "RECONNECT"),
          (None, "u", "bulk_change", None, "RECONNECT_USER")]),
        ("select 'p' || n, 'u', 'message', '1', 'INSERT' from generate_series(1, 101) n",
         [(f"p{n}", "u", "message", "1", "INSERT") for n in range(1, 102)]),
        ("select 'p' || n, 'u', 'project', 'p' || n, 'INSERT' from generate_series(1, 101) n",
         [(f"p{n}", "u", "project", f"p{n}", "INSERT") for n in range(1, 102)]),
        ("select null, 'u', 'note', n::text, 'INSERT' from generate_series(1, 101) n"
         " union all select null, 'v', 'note', '1', 'INSERT'",
         [(None, "v", "note", "1", "INSERT"),
          (None, "u", "bulk_change", None, "RECONNECT_USER")]),
    ],
    ids=[
        "a hot row", "each action", "a heavy project", "just not heavy", "users of a heavy one",
        "a heavy project itself", "a heavy user of a heavy project", "a user of many projects",
        "an owner of many projects", "a heavy user's own",
    ],
)  # fmt: skip
async def test_a_backlog_holds_each_row_once(
    world: World, rows: str, expected: list[Row]
) -> None:
    read = await read_after(world, rows)
    told = {(row.project_id, row.user_id, row.resource, row.id, row.action) for row in read}
    assert len(told) == len(read)
    assert told == {*expected, HOT}
    times = [row.at for row in read if row.at is not None]
    assert times == sorted(times), "oldest first"


async def test_what_concerns_everybody_comes_alone(world: World) -> None:
    read = await read_after(world, "select null, null, 'truncate', null, 'RECONNECT'")
    assert [(row.resource, row.action) for row in read] == [("truncate", "RECONNECT")]


async def test_a_backlog_of_too_many_rows_is_cut_where_it_shows(world: World) -> None:
    """One row more than is read at all: that is a reset."""
    read = await read_after(
        world,
        "select (n / 5)::text, null, 'task', n::text, 'UPDATE'"
        " from generate_series(1, 100500) n",
    )
    assert len(read) == MAX_ROWS_PER_READ + 1


async def test_a_plain_read_is_exact(world: World) -> None:
    change_log = ChangeLog(world.database, RULES)
    before: SnapshotCursor = (await change_log.read(None)).cursor
    await log(world, "select 'p', null, 'task', '1', 'UPDATE' from generate_series(1, 5000)")
    assert len((await change_log.read(before)).rows) == 5000


@pytest.mark.parametrize("mode", ["force_generic_plan", "force_custom_plan"])
async def test_the_log_is_read_by_its_index_whatever_is_known_of_it(
    world: World, mode: str
) -> None:
    """The plan made while the log was empty is the one that it is read by when it has grown."""
    async with open_links(world.database_url) as (_, work):
        cursor = (await ChangeLog(work, RULES).read(None)).cursor
        await work.execute(f"set plan_cache_mode = {mode}")
        explain = f"explain (costs off) {READ_SQL}"
        plans = [await work.fetch(explain, cursor.snapshot, 5001)]
        await log(
            world, "select 'p', null, 'task', '1', 'UPDATE' from generate_series(1, 50000)"
        )
        plans.append(await work.fetch(explain, cursor.snapshot, 5001))
        for plan in plans:
            lines = "\n".join(line for (line,) in plan)
            assert "Index Scan on change_log_xid" in lines
            assert "Seq Scan on change_log" not in lines


async def test_the_log_is_pruned_in_pieces(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long it is: no read and no tick has to wait for all of it."""
    monkeypatch.setattr("listener.leader.change_log.MAX_ROWS_PER_PRUNE", 40)
    change_log = ChangeLog(world.database, RULES)
    rows = "select 'q', null, 'task', n::text, 'UPDATE' from generate_series(1, 99) n"
    await log(world, rows)
    cursor = (await change_log.read(None)).cursor
    await log(world, "select 'q', null, 'task', 'new', 'UPDATE'")
    assert [await change_log.prune(cursor) for _ in range(4)] == [40, 40, 19, 0]
    assert [row.id for row in (await change_log.read(cursor)).rows] == ["new"]


async def test_a_log_that_the_crash_of_a_backend_has_emptied_is_another(
    own_world: World,
) -> None:
    """The server goes on under the same postmaster, as old as before."""
    world = own_world
    before = (await ChangeLog(world.database, RULES).read(None)).cursor
    victim = await asyncpg.connect(world.database_url)
    os.kill(victim.get_server_pid(), signal.SIGKILL)
    async with asyncio.timeout(HANG_SECONDS):
        while not world.database.is_closed():
            await asyncio.sleep(0.01)
        while world.database.is_closed():
            with suppress(OSError, asyncpg.PostgresError):
                await world.reconnect_database()
            await asyncio.sleep(0.05)
    after = (await ChangeLog(world.database, RULES).read(before)).cursor
    assert after.identity != before.identity
    assert after.identity.rpartition(".")[0] == before.identity.rpartition(".")[0]


async def test_300_000_changes_of_50_rows_are_told_once_each(world: World) -> None:
    first = await world.listener()
    projects = [f"5a5e0000-0000-4000-8000-{number:012}" for number in range(6)]
    async with subscribed(world) as subscriber:
        await subscriber.until_marked()
        await first.end()
        await log(
            world,
            "select (array['" + "','".join(projects[:5]) + "'])[1 + n % 5], null, 'task',"
            " (n % 50)::text, 'UPDATE' from generate_series(1, 300000) n",
        )
        await log(
            world,
            f"select '{projects[5]}', null, 'task', n::text, 'UPDATE'"
            " from generate_series(1, 2000) n",
        )
        await world.database.execute(
            "update sprints set name = 'new' where project_id = $1", world.apollo
        )
        expected: list[tuple[str, ...]] = [
            (f"project:{projects[n % 5]}", "task", "UPDATE", str(n)) for n in range(50)
        ]
        expected.append((f"project:{projects[5]}", "reconnect", "bulk_change"))
        expected += [
            (f"project:{world.apollo}", "sprint", "UPDATE", str(row["id"]))
            for row in await world.database.fetch(
                "select id from sprints where project_id = $1", world.apollo
            )
        ]
        second = await world.listener()
        told = [heard.short for heard in await subscriber.until_marked()]
    assert sorted(told) == sorted(expected)
    assert not second.logged("reset")

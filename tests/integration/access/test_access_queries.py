"""Queries of access that are slow, wrong, huge or meant to be deceived."""

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
from prometheus_client import CollectorRegistry

from gateway.access.checker import AccessChecker, AccessUnavailable
from gateway.access.database import open_pool
from listener.leader import project_members as membership
from listener.leader.project_members import ProjectMembers
from shared.config.access_rules import AccessRules, parse_access
from shared.runtime.lifecycle import FatalError
from tests.integration.capture.test_id_spellings import HAS_ICU
from tests.support.changes import assert_flows, is_reset
from tests.support.inspection import peak_bytes
from tests.support.processes import HANG_SECONDS, ROOT
from tests.support.world import World

ASKED = "unnest($1::text[], $2::text[]) as asked (p, u)"
TEXT_TABLES = """
create table projects (id varchar, owner_id varchar);
create table project_members (project_id varchar, user_id varchar);
insert into projects values ('p', 'ada'), ('q', 'ada');
"""
# fits better than PostgreSQL's own, which takes text on both sides
PLANTED = """
create function public.planted(a varchar, b text) returns boolean language plpgsql as
    $$begin {body} end$$;
create operator public.= (leftarg = varchar, rightarg = text, function = public.planted);
create function public.planted(a varchar, b varchar) returns boolean language plpgsql as
    $$begin {body} end$$;
create operator public.= (leftarg = varchar, rightarg = varchar, function = public.planted);
"""


@asynccontextmanager
async def asking(world: World, rules: AccessRules) -> AsyncIterator[AccessChecker]:
    async with open_pool(world.database_url) as pool:
        access = AccessChecker(pool, rules, CollectorRegistry())
        running = asyncio.create_task(access.run())
        yield access
        running.cancel()


def own(query: str) -> AccessRules:
    return AccessRules("text", "text", query, "")


@pytest.fixture
async def text_tables(world: World) -> None:
    await world.database.execute("drop table projects, project_members cascade;" + TEXT_TABLES)


@pytest.mark.usefixtures("text_tables")
async def test_an_operator_that_fits_better_decides_nothing(world: World) -> None:
    await world.database.execute(PLANTED.format(body="return true;"))
    rules = parse_access({"access": {"project_type": "text", "user_type": "text"}})
    async with asking(world, rules) as access:
        assert await access.check(("p", "ada"))
        assert not await access.check(("p", "mallory"))
        assert not await access.check(("nowhere", "ada"))


@pytest.mark.usefixtures("text_tables")
async def test_an_operator_that_fits_better_is_not_run_by_the_listener(world: World) -> None:
    await world.database.execute(PLANTED.format(body="raise 'planted';"))
    rules = parse_access({"access": {"project_type": "text", "user_type": "text"}})
    members = ProjectMembers(world.database, rules)
    await members.verify()
    assert await members.of(["p"]) == {"p": {"ada"}}


@pytest.mark.usefixtures("text_tables")
async def test_only_the_spelling_of_the_tables_is_let_in(world: World) -> None:
    """Another channel would receive no event: triggers log the table's spelling."""
    if not await world.database.fetchval(HAS_ICU):
        pytest.skip("this build of PostgreSQL has no collation that calls texts equal")
    await world.database.execute(
        "create collation folded (provider = icu, locale = 'und-u-ks-level2',"
        " deterministic = false);"
        "alter table projects alter id type text collate folded,"
        " alter owner_id type text collate folded;"
        "alter table project_members alter project_id type text collate folded,"
        " alter user_id type text collate folded;"
        "insert into project_members values ('P', 'Bob'), ('Q', 'bob'), ('q', 'Ada')"
    )
    rules = parse_access({"access": {"project_type": "text", "user_type": "text"}})
    pairs = [("p", "ada"), ("P", "ada"), ("p", "Ada"), ("p", "Bob"), ("p", "bob"), ("q", "bob")]
    pairs += [("q", "ada"), ("q", "Ada"), ("Q", "Ada")]
    async with asking(world, rules) as access:
        answers = [await access.check(pair) for pair in pairs]
    assert answers == [True, False, False, True, False, True, True, True, False]


async def test_what_a_query_returns_counts_in_every_spelling_of_its_type(world: World) -> None:
    query = (
        f"select '{{A9011000-0000-4000-8000-000000000001}}', '007' from {ASKED}"
        " union select 'x', '8'"
    )
    async with asking(world, AccessRules("uuid", "bigint", query, "")) as access:
        assert await access.check((world.apollo, "7"))
        assert not await access.check((world.apollo, "8"))


async def test_names_are_found_in_the_schemas_of_the_role_and_postgresqls_first(
    world: World,
) -> None:
    """Even where the session's own path has PostgreSQL's last."""
    await world.database.execute(
        "create schema app; create table app.grants (p text, u text);"
        "insert into app.grants values ('p', 'ada');"
        "create function app.lower(text) returns text language sql as $$select 'p'$$"
    )
    name = world.database_url.rpartition("/")[2]
    await world.database.execute(f"alter database {name} set search_path = app, pg_catalog")
    query = (
        f"select g.p, g.u from {ASKED} join grants g on g.p = lower(asked.p) and g.u = asked.u"
    )
    async with asking(world, own(query)) as access:
        assert await access.check(("p", "ada"))
        assert not await access.check(("other", "ada"))
    session = await asyncpg.connect(world.database_url)
    members = "select g.p, g.u from grants g where lower(g.p) = any ($1)"
    asked = ProjectMembers(session, AccessRules("text", "text", "", members))
    assert await asked.of(["p"]) == {"p": {"ada"}}
    assert await session.fetchval("show search_path") == "app, pg_catalog", "as it was"
    await session.close()


async def test_a_pair_for_which_the_query_is_slow_is_unavailable_alone(world: World) -> None:
    slow = (
        f"select asked.p, asked.u from {ASKED}"
        " where pg_sleep(case when asked.p = 'slow' then 60 else 0 end) is not null"
    )
    async with asking(world, own(slow)) as access, asyncio.timeout(HANG_SECONDS):
        pairs = [(f"p{number}", "u") for number in range(200)]
        pairs.insert(70, ("slow", "u"))
        answers = await asyncio.gather(*map(access.check, pairs), return_exceptions=True)
        for pair, answer in zip(pairs, answers, strict=True):
            if pair[0] == "slow":
                assert isinstance(answer, AccessUnavailable)
            else:
                assert answer is True


async def test_a_connection_that_is_released_at_the_end_is_not_an_error(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_pool(world.database_url) as pool:
        connection = await pool.acquire()
        await connection.execute("select 1")
        releasing = asyncio.create_task(pool.release(connection))
        await asyncio.sleep(0)
        releasing.cancel()  # as tasks of a gateway that ends; asyncpg releases it nevertheless
        await asyncio.wait([releasing])
        by_asyncpg = asyncio.all_tasks() - {asyncio.current_task()}
    while by_asyncpg:
        await asyncio.wait([by_asyncpg.pop()])
    gc.collect()  # asyncio logs an error that nobody has seen when its task is gone
    assert not caplog.records


async def test_a_pair_for_which_the_query_returns_everything_is_unavailable_alone(
    world: World,
) -> None:
    huge = (
        f"select asked.p, asked.u from {ASKED},"
        " generate_series(1, case when asked.p = 'huge' then 200000 else 1 end)"
    )
    async with asking(world, own(huge)) as access:
        pairs = [("a", "u"), ("huge", "u"), ("b", "u")]
        answers = await asyncio.gather(*map(access.check, pairs), return_exceptions=True)
        assert answers[::2] == [True, True]
        assert isinstance(answers[1], AccessUnavailable)
        assert "over 10000 rows" in str(answers[1])


async def test_long_values_and_nulls_are_no_pairs(world: World) -> None:
    query = (
        f"select repeat('x', 5000000), asked.u from {ASKED}"
        f" union all select asked.p, null from {ASKED}"
    )
    async with asking(world, own(query)) as access:
        assert not await access.check(("x" * 512, "u"))
        assert not await access.check(("p", "None")), "NULL is nobody"


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("select 1", "InvalidColumnReferenceError"),
        ("select p, u from nowhere", "UndefinedTableError"),
        (f"select asked.p::uuid, asked.u from {ASKED}", "InvalidTextRepresentationError"),
        (
            f"select asked.p, asked.u from {ASKED} where missing(asked.p)",
            "UndefinedFunctionError",
        ),
    ],
)
async def test_a_query_that_is_wrong_says_so_once(
    world: World, query: str, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with asking(world, own(query)) as access:
        for _ in range(5):
            with pytest.raises(AccessUnavailable, match=told):
                await access.check(("p", "u"))
    [line] = [line for line in caplog.records if line.message == "access queries failed"]
    assert told in line.__dict__["reason"]


@pytest.fixture
def configure(world: World, tmp_path: Path) -> Callable[[str], object]:
    """Writes the shipped configuration with a members query of one's own."""
    path = tmp_path / "invalidation.toml"
    world.more["NEVERSTALE_CONFIG"] = str(path)
    shipped = (ROOT / "invalidation.toml").read_text().partition("[access]")[0]

    def write(members: str) -> object:
        query = parse_access({}).query
        access = f"[access]\nquery = '''{query}'''\nmembers = '''{members}'''\n"
        return path.write_text(shipped + access)

    return write


async def test_a_million_members_are_a_reset_and_take_little_memory(
    world: World, configure: Callable[[str], object]
) -> None:
    configure(
        "select p, md5(n::text)::uuid"
        " from unnest($1::text[]) as p, generate_series(1, 1000000) n"
    )
    listener = await world.listener()
    gateway = await world.gateway()
    async with world.client(gateway, world.gemini, world.grace) as client:
        before = peak_bytes(listener)
        await world.database.execute(
            "update projects set name = 'x' where id = $1", world.apollo
        )
        frames = await client.until(is_reset)
        assert frames[-1]["data"]["reason"] == "bulk_change"
        await world.database.execute(
            "select neverstale.notify('x', 'UPDATE', $1, '1')", world.gemini
        )
        assert (await client.next())["resource"] == "x"
        assert peak_bytes(listener) < before + 150_000_000


async def test_members_that_are_slow_are_a_reset_and_hold_up_the_leader_for_seconds(
    world: World, configure: Callable[[str], object]
) -> None:
    configure("select p, p from unnest($1::text[]) as p where pg_sleep(60) is not null")
    listener = await world.listener()
    gateway = await world.gateway()
    async with world.client(gateway, world.apollo, world.ada) as client:
        await world.database.execute(
            "update projects set name = 'x' where id = $1", world.gemini
        )
        frames = await client.until(is_reset)
        assert frames[-1]["data"]["reason"] == "bulk_change"
        await assert_flows(world, client)
    assert listener.logged("members query failed")
    assert not listener.logged("postgresql lost")


@pytest.mark.parametrize(
    ("body", "is_answered"),
    [
        ("raise 'no'", False),
        ("perform 1/0", False),
        ("insert into tasks (id) values (null)", False),
        ("perform pg_sleep(30)", False),
        ("null", True),
    ],
)
async def test_members_that_fail_for_a_project_are_no_members_and_no_end(
    world: World, monkeypatch: pytest.MonkeyPatch, body: str, *, is_answered: bool
) -> None:
    monkeypatch.setattr(membership, "MEMBERS_SECONDS", 0.2)
    await world.database.execute(
        "create function public.fails(p text) returns boolean language plpgsql as"
        f" $$begin {body}; return true; end$$"
    )
    rules = AccessRules(
        "text", "text", "", "select p, 'u' from unnest($1::text[]) as p where public.fails(p)"
    )
    members = ProjectMembers(world.database, rules)
    await members.verify()
    assert await members.of(["p"]) == ({"p": {"u"}} if is_answered else None)
    assert await world.database.fetchval("show statement_timeout") == "0", "as it was"


async def test_members_of_one_column_are_refused_at_the_start(world: World) -> None:
    rules = AccessRules("text", "text", "", "select unnest($1::text[])")
    with pytest.raises(FatalError, match="members query failed"):
        await ProjectMembers(world.database, rules).verify()

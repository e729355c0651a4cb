"""Ids that are written in several ways, and users who can't be named: whom events reach, and
the loss of access.
"""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from listener.setup.install import Config, plan_install
from shared.config.access_rules import ConfigError
from tests.support.demo_data import ADA
from tests.support.processes import WS_PATH, Client, Part, token
from tests.support.watches import watch
from tests.support.world import World

A = "a9011000-0000-4000-8000-00000000000a"
B = "a9011000-0000-4000-8000-00000000000b"


async def start(world: World, folder: Path, schema: str, config: str) -> Part:
    """A stack that watches this schema by this file."""
    path = folder / "invalidation.toml"
    path.write_text(config)
    world.more["NEVERSTALE_CONFIG"] = str(path)
    await world.database.execute(schema)
    assert (await world.command("listener", "install"))[::2] == (0, "")
    await world.listener()
    return await world.gateway()


@asynccontextmanager
async def heard(world: World, gateway: Part, project: str, user: str) -> AsyncIterator[Client]:
    """A client that has been greeted, by ids as they are."""
    async with world.http.ws_connect(
        f"{gateway.url}{WS_PATH}",
        params={"project_id": project},
        headers={"Authorization": f"Bearer {token(user)}"},
    ) as socket:
        client = Client(socket)
        await client.next()
        yield client


# --- who loses access though the row that says so names nobody

MEMBERS = f"""
create table accounts (id int primary key, auth uuid);
create table rooms (id uuid primary key, name text);
create table room_members (
    n int primary key, room uuid, who text, auth uuid
);
create table guests (n int, room uuid, account int references accounts on delete cascade);
create view allowed as
    select room, auth from room_members
    union all select room, auth from guests join accounts on accounts.id = account;
insert into rooms values ('{A}');
"""
ROOM_ACCESS = """
[access]
query = '''
select room, auth from unnest($1::text[], $2::text[]) as asked (p, u)
  join allowed on room = asked.p::uuid and auth = asked.u::uuid'''
members = "select room, auth from allowed where room = any ($1::text[]::uuid[])"
"""
LOOKED_UP = "(select a.auth from public.accounts a where a.id = account)"
UNNAMEABLE = {
    "no id of the type": "'nobody'",
    "empty": "''",
    "too long": "repeat('x', 600)",
    "a control character": r"E'a\x01'",
    "blanks around it": f"' {ADA} '",
}


LOST = 4403  # what nothing but a recheck tells within minutes


async def test_who_cannot_be_named_is_revoked_even_so(world: World, tmp_path: Path) -> None:
    config = (
        watch("rooms", project="id", resource="project")
        + watch("room_members", id="n", project="room", user="who")
        + watch("guests", id="n", project="room", user=LOOKED_UP)
        + ROOM_ACCESS
    )
    gateway = await start(world, tmp_path, MEMBERS, config)
    database = world.database
    for n, (what, who) in enumerate(UNNAMEABLE.items()):
        await database.execute(f"insert into room_members values ({n}, '{A}', {who}, '{ADA}')")
        async with heard(world, gateway, A, ADA) as client:
            await database.execute(f"delete from room_members where n = {n}")
            assert await client.closed() == LOST, what
    await database.execute(f"insert into accounts values (1, '{ADA}')")
    await database.execute(f"insert into guests values (1, '{A}', 1)")
    async with heard(world, gateway, A, ADA) as client:
        await database.execute("delete from accounts")
        assert await client.closed() == LOST, "looked up in what the cascade deleted"
    # neither the project nor the user: everybody is told to refetch, and asked for
    await database.execute(f"insert into room_members values (9, null, 'x', '{ADA}')")
    await database.execute(f"insert into room_members values (8, '{A}', null, '{ADA}')")
    async with heard(world, gateway, A, ADA) as client:
        await database.execute("begin; update room_members set auth = null where n = 8")
        await database.execute("delete from room_members where n = 9; commit")
        assert await client.closed() == LOST, "of no project"


# --- one spelling of an id


SPELLED = f"""
create extension citext;
create table tags (slug citext primary key, owner char(40));
create table posts (id int, tag citext references tags on update cascade, price numeric);
insert into tags values ('Red', 'ada@x'), ('Blue', 'ada@x');
create table boards (id int primary key, owner varchar, code text);
create table cards (id int, board text, ref numeric(9, 2));
insert into boards values (7, '{ADA.upper()}', '007');
"""
TAGS = (
    watch(
        "tags",
        resource="project",
        id="lower(slug::text)",
        project="lower(slug::text)",
        user="owner",
    )
    + watch("posts", project="lower(tag::text)")
    + """
[access]
project_type = "text"
user_type = "text"
query = '''
select lower(slug::text), owner from unnest($1::text[], $2::text[]) as asked (p, u)
  join tags on slug = asked.p::citext and owner = asked.u::bpchar'''
members = "select lower(slug::text), owner from tags where lower(slug::text) = any ($1::text[])"
"""
)
BOARDS = (
    watch("boards", resource="board", project="code", user="owner")
    + watch("cards", project="board")
    + """
[access]
project_type = "bigint"
user_type = "uuid"
query = '''
select b.code, b.owner from unnest($1::text[], $2::text[]) as asked (p, u)
  join boards b on b.code::bigint = asked.p::bigint and b.owner::uuid = asked.u::uuid'''
members = "select code, owner from boards where code::bigint = any ($1::text[]::bigint[])"
"""
)


async def is_served(
    world: World, gateway: Part, project: str, user: str, sql: Iterable[str]
) -> bool:
    """Whether the client is let in, and then told of each of the changes."""
    try:
        async with heard(world, gateway, project, user) as client:
            for statement in sql:
                await world.database.execute(statement)
                assert (await client.next())["type"] == "cache_invalidate", statement
    except aiohttp.WSServerHandshakeError as exc:
        return exc.status != 403
    return True


async def test_whoever_is_let_in_by_text_hears_the_events_of_all_spellings(
    world: World, tmp_path: Path
) -> None:
    gateway = await start(world, tmp_path, SPELLED, TAGS)
    changes = (
        "insert into posts values (1, 'Red')",
        "insert into posts values (2, 'RED')",
        "update posts set price = 1 where id = 2",
        "delete from posts where id = 1",
    )
    assert await is_served(world, gateway, "red", "ada@x", changes)
    for project, user in (
        ("Red", "ada@x"),
        ("RED", "ada@x"),
        ("red", "ada@x "),
        ("red", "Ada@x"),
    ):
        assert not await is_served(world, gateway, project, user, ())
    async with heard(world, gateway, "red", "ada@x") as client:
        await world.database.execute("update tags set owner = 'bob' where slug = 'RED'")
        assert await client.closed() == LOST


async def test_whoever_is_let_in_by_numbers_and_uuids_hears_the_events_of_all_spellings(
    world: World, tmp_path: Path
) -> None:
    gateway = await start(world, tmp_path, SPELLED, BOARDS)
    changes = [f"insert into cards values (1, '{board}')" for board in ("7", "007", " +7 ")]
    for project in ("7", "007", "+7"):
        for user in (ADA, ADA.upper(), f"{{{ADA}}}", ADA.replace("-", "")):
            assert await is_served(world, gateway, project, user, changes[:1])
    assert await is_served(world, gateway, "07", ADA, changes)
    async with heard(world, gateway, "7", ADA) as client:
        await world.database.execute("update boards set owner = null")
        assert await client.closed() == LOST


# --- what install takes

COLUMNS = """
create extension citext;
create domain code as bigint;
create type colour as enum ('red');
create table t (u uuid, i int, c code, t text, v varchar, b char(9), n numeric, f float8,
    at timestamptz, raw bytea, ci citext, e colour, j jsonb);
"""
FOLDED = """
create collation folded (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
create domain short as text collate folded;
alter table t add fold text collate folded, add s short;
"""
HAS_ICU = "select exists (select from pg_collation where collname = 'und-x-icu')"
TAKEN = {
    "uuid": ("u", "t", "v", "b", "j->>'id'", "ci::text"),
    "bigint": (
        "i",
        "c",
        "t",
        "i + 1",
        "trim_scale(n)::text",
        "(select c from public.t limit 1)",
    ),
    "text": ("t", "v", "b", "lower(ci::text)", "e::text", "i::text", "'constant'"),
}


async def test_install_takes_only_what_writes_equal_ids_alike(world: World) -> None:
    await world.database.execute(COLUMNS)
    others = ["u", "i", "c", "n", "f", "at", "raw", "ci", "e", "j"]
    if await world.database.fetchval(HAS_ICU):
        await world.database.execute(FOLDED)
        others += ["fold", "s", "lower(fold)"]
    for id_type, taken in TAKEN.items():
        for text in (*taken, *others):
            for key in ("project", "user"):
                watched = {"table": "t", "resource": "x", key: text}
                access = {f"{key}_type": id_type}
                config = Config.parse(
                    {"watch": [watched], "access": access}, log_max_bytes=2**30
                )
                async with world.database.transaction():
                    try:
                        await plan_install(world.database, config)
                    except ConfigError as exc:
                        [problem] = exc.problems
                        assert text not in taken, problem
                        assert problem.startswith(f"watch (t) {key}: "), problem
                        assert "Traceback" not in problem
                    else:
                        assert text in taken, (id_type, text)


async def test_check_and_install_say_which_line_to_change(world: World, tmp_path: Path) -> None:
    path = tmp_path / "invalidation.toml"
    world.more["NEVERSTALE_CONFIG"] = str(path)
    await world.database.execute("create table t (id int, owner numeric)")
    path.write_text(watch("t", project="id", user="owner") + '[access]\nuser_type = "bigint"')
    told = [
        'id is of type integer, but ids are of type "uuid": write project_type = "bigint" in',
        'which can write equal values differently: write user = "trim_scale(owner)::text", or',
    ]
    for program, command, code in (("listener", "install", 2), ("neverstale", "check", 1)):
        failed, _, errors = await world.command(program, command)
        assert (failed, [line in errors for line in told]) == (code, [True, True]), errors

"""A first invalidation.toml: installed as it was written, it tells of every table."""

import secrets
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from listener.bootstrap.naming import RESERVED
from tests.support.processes import Client, connected
from tests.support.world import World

Told = tuple[str, str, str]  # resource, action, id


@dataclass(frozen=True)
class App:
    """A database of somebody's, a project in it with a user who may hear of it and one who may
    not, and what its client is told of each change.
    """

    schema: str
    project: str
    user: str
    stranger: str
    changes: tuple[tuple[str, Told], ...]
    said: tuple[str, ...]
    options: tuple[str, ...] = ()


ONE = "11111111-0000-4000-8000-000000000001"
TWO = "22222222-0000-4000-8000-000000000002"
TEN = "aaaaaaaa-0000-4000-8000-00000000000a"

UUIDS = App(
    f"""
    create table users (id uuid primary key, name text);
    create table projects (id uuid primary key, owner_id uuid references users, name text);
    create table project_members (
        project_id uuid references projects, user_id uuid references users, role text,
        primary key (user_id, project_id));
    create table boards (id uuid primary key, project_id uuid not null references projects);
    create table lists (id uuid primary key, board_id uuid not null references boards);
    create table cards (
        id uuid primary key, list_id uuid not null references lists, project_id uuid,
        updated_at timestamptz);
    create table comments (
        id uuid primary key, card_id uuid not null references cards, body text,
        reply_to uuid references comments);
    create table sessions (id uuid primary key, user_id uuid not null references users);
    create table schema_migrations (version text primary key);
    insert into users values ('{ONE}'), ('{TWO}');
    insert into projects values ('{TEN}', '{ONE}', 'Apollo');
    """,
    TEN,
    ONE,
    TWO,
    (
        ("update projects set name = 'Gemini'", ("project", "UPDATE", TEN)),
        (f"insert into boards values ('{ONE}', '{TEN}')", ("board", "INSERT", ONE)),
        (f"insert into lists values ('{ONE}', '{ONE}')", ("list", "INSERT", ONE)),
        (f"insert into cards values ('{ONE}', '{ONE}')", ("card", "INSERT", ONE)),
        (f"insert into comments values ('{TWO}', '{ONE}', 'a')", ("comment", "INSERT", TWO)),
        ("update comments set body = 'b'", ("comment", "UPDATE", TWO)),
        ("delete from comments", ("comment", "DELETE", TWO)),
        (
            f"insert into project_members values ('{TEN}', '{ONE}')",
            ("project_members", "INSERT", f"{TEN}:{ONE}"),
        ),
    ),
    (
        "join public.lists p2 on p2.id = p1.list_id join public.boards p3",
        '# table = "sessions"',
        "# Not watched: no foreign-key path to projects: schema_migrations",
        '# ignore = ["updated_at"]',
        "# The default queries fit",
    ),
)
BIGINTS = App(
    """
    create schema "Shop";
    create table people (id int generated always as identity primary key);
    create table workspaces (
        id bigint primary key, slug text unique not null, creator int references people);
    create table workspace_users (
        id bigint primary key, workspace_id bigint not null references workspaces,
        user_id int not null references people, unique (workspace_id, user_id));
    create table projects (
        id bigint primary key, workspace_id bigint not null references workspaces);
    create table "Shop"."Order Lines" (
        "Order" bigint, "user" int, project_id bigint not null references projects,
        primary key ("Order", "user"));
    create table "Shop"."select" (
        id bigint primary key, slug text not null references workspaces (slug));
    create table events (
        id bigint, day date, workspace_id bigint references workspaces,
        primary key (id, day)) partition by range (day);
    create table events_2026 partition of events default;
    create table audits (workspace_id bigint not null references workspaces, what text);
    insert into people default values; insert into people default values;
    insert into people default values;
    insert into workspaces values (7, 'seven', 1);
    insert into workspace_users values (1, 7, 2);
    """,
    "7",
    "2",
    "3",
    (
        ("update workspaces set creator = 2", ("project", "UPDATE", "7")),
        ("insert into workspace_users values (2, 7, 1)", ("project_members", "INSERT", "7:1")),
        ("insert into projects values (70, 7)", ("projects", "INSERT", "70")),
        (
            'insert into "Shop"."Order Lines" values (1, 2, 70)',
            ("order_line", "INSERT", "1:2"),
        ),
        ('insert into "Shop"."select" values (5, \'seven\')', ("select", "INSERT", "5")),
        ("insert into events values (1, '2026-01-01', 7)", ("event", "INSERT", "1:2026-01-01")),
        ("delete from events_2026", ("event", "DELETE", "1:2026-01-01")),
        ("insert into audits values (7, 'x')", ("reconnect", "bulk_change", "")),
    ),
    (
        "where p1.slug = changed.slug",
        "# workspace_id may be NULL: a change of such a row is sent to nobody",
        "# It has no key without NULLs",
        "m.workspace_id = p.id and m.user_id = asked.user_id::bigint",
    ),
    ("--projects", "workspaces"),
)
COMPOSITES = App(
    """
    create table app_users (id text primary key);
    create table tenants (id text primary key, created_by text references app_users);
    create table tenant_memberships (
        tenant_id text references tenants, user_id text references app_users,
        primary key (tenant_id, user_id));
    create table issues (
        tenant_id text references tenants, number int, primary key (tenant_id, number));
    create table replies (
        tenant text, issue int, id int, author text references app_users,
        primary key (tenant, issue, id),
        foreign key (tenant, issue) references issues on delete cascade);
    create table parcels (
        year int, number int, tenant_id text not null references tenants,
        primary key (year, number));
    create table parcel_items (
        item int primary key, parcel_year int not null, parcel_number int not null,
        foreign key (parcel_number, parcel_year) references parcels (number, year));
    insert into app_users values ('ada'), ('bob'), ('eve');
    insert into tenants values ('acme', 'ada');
    insert into tenant_memberships values ('acme', 'bob');
    """,
    "acme",
    "bob",
    "eve",
    (
        ("update tenants set created_by = 'bob'", ("project", "UPDATE", "acme")),
        ("insert into issues values ('acme', 1)", ("issue", "INSERT", "acme:1")),
        ("insert into replies values ('acme', 1, 2)", ("reply", "INSERT", "acme:1:2")),
        ("delete from replies", ("reply", "DELETE", "acme:1:2")),
        ("insert into parcels values (2026, 1, 'acme')", ("parcel", "INSERT", "2026:1")),
        ("insert into parcel_items values (9, 2026, 1)", ("parcel_item", "INSERT", "9")),
        (
            "insert into tenant_memberships values ('acme', 'ada')",
            ("project_members", "INSERT", "acme:ada"),
        ),
    ),
    (
        'project = "tenant"\n',
        "p1.number = changed.parcel_number and p1.year = changed.parcel_year",
        "m.tenant_id = p.id and m.user_id = asked.user_id::text",
    ),
)


async def empty(world: World, schema: str) -> None:
    await world.command("listener", "uninstall")
    await world.database.execute(f"drop schema public cascade; create schema public; {schema}")


async def told_of(world: World, client: Client, project: str) -> list[tuple[str, ...]]:
    """What the client was told, with the project, up to a mark that comes after it."""
    mark = secrets.token_hex(4)
    await world.database.execute(
        "select neverstale.notify('mark', 'UPDATE', $1, $2)", project, mark
    )
    told: list[tuple[str, ...]] = []
    while True:
        frame = await client.next()
        if frame["data"].get("reason") == "access_changed" or frame.get(
            "channel", ""
        ).startswith("user:"):
            continue  # of the user's own lists
        if frame["type"] == "reconnect":
            told.append(("reconnect", frame["data"]["reason"], "", project))
        else:
            assert frame["data"]["project_id"] == frame["project_id"]
            data = frame["data"]
            told.append((data["resource"], data["action"], data["id"], frame["project_id"]))
        if frame["type"] == "reconnect" or told[-1][2] == mark:
            return [event for event in told if event[0] != "mark"]


@pytest.mark.parametrize(
    "app", [UUIDS, BIGINTS, COMPOSITES], ids=["uuid", "bigint", "composite"]
)
async def test_a_first_config_tells_of_every_table(
    world: World, tmp_path: Path, app: App
) -> None:
    await empty(world, app.schema)
    config = tmp_path / "invalidation.toml"
    world.more["NEVERSTALE_CONFIG"] = str(config)
    code, output, errors = await world.command("listener", "init", *app.options, REDIS_URL="")
    assert (code, errors) == (0, "")
    assert f"{config}: review it, then run neverstale install" in output
    text = config.read_text()
    for part in app.said:
        assert part in text
    watched = text.count("\n[[watch]]")
    assert watched == len({told[0] for _, told in app.changes})

    code, _, errors = await world.command("listener", "install")
    assert (code, errors) == (0, "")
    await world.listener()
    gateway = await world.gateway()
    async with world.client(gateway, app.project, app.user, v1=True) as client:
        for change, event in app.changes:
            await world.database.execute(change)
            told = await told_of(world, client, app.project)
            assert told == [(*event, app.project)], change
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        async with connected(world.http, gateway, app.project, app.stranger):
            pass
    assert refused.value.status == 403


async def test_a_file_that_is_there_is_not_overwritten(world: World, tmp_path: Path) -> None:
    config = tmp_path / "own.toml"
    config.write_text("mine")
    code, _, errors = await world.command("listener", "init", "--output", str(config))
    assert (code, config.read_text()) == (1, "mine")
    assert "exists already" in errors
    assert "--output PATH" in errors
    missing = str(tmp_path / "missing" / "own.toml")
    code, _, errors = await world.command("listener", "init", "--output", missing)
    assert (code, "No such file or directory" in errors) == (1, True)
    code, output, errors = await world.command("listener", "init", "--output", "-")
    assert (code, output.count("\n[[watch]]")) == (0, 5)
    assert "neverstale" not in output.partition("[[watch]]")[2]
    assert "watched      projects" in errors


async def test_an_unclear_projects_table_must_be_named(world: World, tmp_path: Path) -> None:
    await empty(
        world,
        """
        create table things (id bigint primary key);
        create table parts (id bigint primary key, thing_id bigint references things);
        """,
    )
    config = tmp_path / "own.toml"
    code, _, errors = await world.command("listener", "init", "--output", str(config))
    assert (code, config.exists()) == (1, False)
    assert "no table looks like the projects table; name it" in errors
    assert "most references: things, parts" in errors
    words = ("listener", "init", "--output", str(config), "--projects", "public.things")
    code, _, errors = await world.command(*words)
    assert (code, "NOBODY may see" in errors) == (0, True)
    assert 'project = "thing_id"' in config.read_text()
    world.more["NEVERSTALE_CONFIG"] = str(config)
    assert await world.install() == 0
    await world.listener()
    gateway = await world.gateway()
    await world.database.execute("insert into things values (1)")
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        async with connected(world.http, gateway, "1", "ada"):
            pass
    assert refused.value.status == 403


async def test_the_options_of_init_go_with_no_other_command(world: World) -> None:
    code, _, errors = await world.command("neverstale", "check", "--projects", "projects")
    assert (code, "unrecognized arguments: --projects" in errors) == (2, True)


async def test_every_reserved_word_is_quoted(world: World) -> None:
    words = await world.database.fetch(
        "select word from pg_get_keywords() where catcode in ('R', 'T')"
    )
    assert {word for (word,) in words} <= RESERVED

"""What changes a user's own lists is told on ``user:<id>``, and their access is asked anew."""

from pathlib import Path

import pytest

from tests.support.demo_data import ADA, APOLLO, GRACE
from tests.support.subscriber import Heard, subscribed
from tests.support.world import World

LINUS = "00011005-0000-4000-8000-000000000003"

Short = tuple[str | None, ...]
RECHECK = "neverstale:recheck"


def of_user(user: str, resource: str, action: str) -> Short:
    id_ = APOLLO if resource == "project" else f"{APOLLO}:{user}"
    return (f"user:{user}", resource, action, id_)


def recheck(user: str | None) -> Short:
    return (RECHECK, APOLLO, user)


ADD_LINUS = f"insert into project_members (project_id, user_id) values ('{APOLLO}', '{LINUS}');"
RENAME = "update projects set name = 'x' where name = 'Apollo'"
HAND_OVER = f"update projects set owner_id = '{LINUS}' where name = 'Apollo'"
PROJECT_UPDATED: Short = (f"project:{APOLLO}", "project", "UPDATE", APOLLO)

WAYS: list[tuple[str, str, list[Short]]] = [
    (
        "a member added",
        ADD_LINUS,
        [
            of_user(LINUS, "project_members", "INSERT"),
            recheck(LINUS),
            (f"project:{APOLLO}", "project_members", "INSERT", f"{APOLLO}:{LINUS}"),
        ],
    ),
    (
        "a role changed",
        f"update project_members set role = 'admin' where user_id = '{GRACE}'",
        [
            of_user(GRACE, "project_members", "UPDATE"),
            recheck(GRACE),
            (f"project:{APOLLO}", "project_members", "UPDATE", f"{APOLLO}:{GRACE}"),
        ],
    ),
    (
        "a member removed",
        f"delete from project_members where user_id = '{GRACE}'",
        [
            of_user(GRACE, "project_members", "DELETE"),
            recheck(GRACE),
            (f"project:{APOLLO}", "project_members", "DELETE", f"{APOLLO}:{GRACE}"),
        ],
    ),
    (
        "a project renamed",
        RENAME,
        [
            of_user(ADA, "project", "UPDATE"),
            of_user(GRACE, "project", "UPDATE"),
            recheck(None),
            recheck(ADA),
            PROJECT_UPDATED,
        ],
    ),
    (
        "its owner changed",
        HAND_OVER,
        [
            of_user(ADA, "project", "DELETE"),
            of_user(GRACE, "project", "UPDATE"),
            of_user(LINUS, "project", "INSERT"),
            recheck(None),
            recheck(ADA),
            recheck(LINUS),
            PROJECT_UPDATED,
        ],
    ),
    (
        "its owner changed to a member",
        ADD_LINUS + HAND_OVER,
        [
            of_user(LINUS, "project_members", "INSERT"),
            of_user(LINUS, "project", "INSERT"),
            of_user(ADA, "project", "DELETE"),
            of_user(GRACE, "project", "UPDATE"),
            recheck(LINUS),
            recheck(None),
            recheck(ADA),
            (f"project:{APOLLO}", "project_members", "INSERT", f"{APOLLO}:{LINUS}"),
            PROJECT_UPDATED,
        ],
    ),
    (
        "a task changed",
        f"update sprints set name = 'x' where project_id = '{APOLLO}'",
        [(f"project:{APOLLO}", "sprint", "UPDATE", "59000000-0000-4000-8000-000000000001")],
    ),
]


@pytest.fixture
async def world(world: World) -> World:
    await world.database.execute("insert into users (id, name) values ($1, 'Linus')", LINUS)
    return world


def split(heard: list[Heard]) -> list[set[Short]]:
    """What was heard on users' channels, as rechecks, and on projects' channels.

    In this order, and nothing twice.
    """
    kinds = [message.channel.partition(":")[0] for message in heard]
    assert kinds == sorted(kinds, key=["user", "neverstale", "project"].index)
    told = [message.short for message in heard]
    assert len(set(told)) == len(told)
    return [
        {message.short for message in heard if message.channel.startswith(kind)}
        for kind in ("user", "neverstale", "project")
    ]


@pytest.mark.parametrize(
    ("sql", "expected"), [way[1:] for way in WAYS], ids=[w[0] for w in WAYS]
)
async def test_who_is_told_and_asked_anew(
    world: World, sql: str, expected: list[Short]
) -> None:
    await world.listener()
    async with subscribed(world) as subscriber:
        await subscriber.until_marked()
        await world.database.execute(sql)
        heard = await subscriber.until_marked()
    users, rechecks, projects = split(heard)
    assert users | rechecks | projects == set(expected)


async def test_a_deleted_project_is_told_to_its_owner_and_its_members(world: World) -> None:
    await world.listener()
    async with subscribed(world) as subscriber:
        await subscriber.until_marked()
        await world.database.execute("delete from projects where id = $1", APOLLO)
        users, rechecks, _ = split(await subscriber.until_marked())
    assert users == {
        of_user(ADA, "project", "DELETE"),
        of_user(GRACE, "project", "DELETE"),
        of_user(GRACE, "project_members", "DELETE"),
    }
    assert rechecks == {recheck(None), recheck(ADA), recheck(GRACE)}


async def test_each_of_500_removed_at_once_is_told_and_asked_anew(world: World) -> None:
    await world.database.execute(
        "insert into users (name) select 'u' from generate_series(1, 500)"
    )
    await world.database.execute(
        "insert into project_members (project_id, user_id) select $1, id from users"
        " where name = 'u'",
        APOLLO,
    )
    ids = {
        str(row["id"])
        for row in await world.database.fetch("select id from users where name = 'u'")
    }
    await world.listener(REPLAY_MAX_ROWS="100")
    async with subscribed(world) as subscriber:
        await subscriber.until_marked()
        await world.database.execute(
            "delete from project_members m using users u where u.id = user_id and u.name = 'u'"
        )
        users, rechecks, projects = split(await subscriber.until_marked())
    assert users == {of_user(id_, "project_members", "DELETE") for id_ in ids}
    assert rechecks == {recheck(id_) for id_ in ids}
    assert projects == {(f"project:{APOLLO}", "reconnect", "bulk_change")}


async def test_what_is_of_a_user_alone_is_told_to_that_user(
    world: World, tmp_path: Path
) -> None:
    await world.database.execute("create table notes (id int primary key, user_id uuid)")
    config = tmp_path / "invalidation.toml"
    config.write_text(
        '[[watch]]\ntable = "notes"\nresource = "note"\nid = "id"\nuser = "user_id"\n'
    )
    world.more["NEVERSTALE_CONFIG"] = str(config)
    assert await world.install() == 0
    await world.listener()
    async with subscribed(world) as subscriber:
        await subscriber.until_marked()
        await world.database.execute("insert into notes values (1, $1)", ADA)
        [told, asked] = await subscriber.until_marked()
    assert told.short == (f"user:{ADA}", "note", "INSERT", "1")
    assert (told.frame["project_id"], told.frame["data"]["project_id"]) == (None, None)
    assert asked.frame == {"type": "recheck", "project_id": None, "user_id": ADA}


async def test_without_an_owner_in_the_watch_members_are_told_all_the_same(
    world: World, tmp_path: Path
) -> None:
    config = tmp_path / "invalidation.toml"
    config.write_text(
        '[[watch]]\ntable = "projects"\nresource = "project"\nid = "id"\nproject = "id"\n'
    )
    world.more["NEVERSTALE_CONFIG"] = str(config)
    assert await world.install() == 0
    await world.listener()
    async with subscribed(world) as subscriber:
        await subscriber.until_marked()
        await world.database.execute(HAND_OVER)
        users, rechecks, projects = split(await subscriber.until_marked())
    assert users == {of_user(user, "project", "UPDATE") for user in (GRACE, LINUS)}
    assert (rechecks, projects) == ({recheck(None)}, {PROJECT_UPDATED})


async def test_partitioned_projects_tell_a_changed_owner_too(
    world: World, tmp_path: Path
) -> None:
    await world.database.execute(
        "create table boards (id uuid, owner_id uuid, kind text) partition by list (kind);"
        "create table boards_a partition of boards for values in ('a');"
        "create table boards_b partition of boards for values in ('b');"
        f"insert into boards values ('{APOLLO}', '{ADA}', 'a')"
    )
    config = tmp_path / "invalidation.toml"
    config.write_text(
        '[[watch]]\ntable = "boards"\nresource = "project"\nid = "id"\nproject = "id"\n'
        'user = "owner_id"\n[access]\nmembers = "select id, owner_id from boards'
        ' where id = any ($1::text[]::uuid[])"\n'
    )
    world.more["NEVERSTALE_CONFIG"] = str(config)
    assert await world.install() == 0
    await world.listener()
    async with subscribed(world) as subscriber:
        await subscriber.until_marked()
        await world.database.execute(f"update boards set owner_id = '{LINUS}', kind = 'b'")
        users, _, projects = split(await subscriber.until_marked())
    assert users >= {of_user(ADA, "project", "DELETE"), of_user(LINUS, "project", "INSERT")}
    assert of_user(ADA, "project", "INSERT") not in users
    assert projects == {PROJECT_UPDATED}


async def test_members_that_cannot_be_asked_are_told_at_the_start_and_by_check(
    world: World, tmp_path: Path
) -> None:
    config = tmp_path / "invalidation.toml"
    watch = '[[watch]]\ntable = "tasks"\nresource = "task"\nproject = "project_id"\n'
    config.write_text(watch + '[access]\nmembers = "select * from nobody"\n')
    world.more["NEVERSTALE_CONFIG"] = str(config)
    assert await world.install() == 0
    code, _, errors = await world.command("neverstale", "check")
    assert (code, "[access] members query failed: relation" in errors) == (1, True)
    code, _, errors = await world.command("listener")
    assert (code, "[access] members query failed: relation" in errors) == (1, True)
    config.write_text(watch + '[access]\nquery = "select $1, $2"\n')
    code, output, _ = await world.command("neverstale", "check")
    assert (code, "note: [access] members is missing" in output) == (0, True)
    await world.listener()

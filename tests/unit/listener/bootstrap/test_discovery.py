"""Which tables are proposed as projects, members and watches."""

import pytest

from listener.bootstrap.catalog import Column, DescribedTable
from listener.bootstrap.discovery import UndecidedError, discover
from listener.bootstrap.first_access import describe_access
from listener.bootstrap.first_config import describe_discovery
from listener.bootstrap.project_members import Owner
from tests.unit.listener.bootstrap.described_tables import (
    MEMBERS,
    NOTES,
    OF_PROJECT,
    OF_SPRINT,
    OF_USER,
    PROJECTS,
    SPRINTS,
    TASKS,
    USERS,
    rendered,
    table,
    watch,
)


def test_names_like_the_defaults_need_no_query() -> None:
    text, document = rendered(USERS, PROJECTS, MEMBERS)
    assert document["access"] == {"project_type": "bigint", "user_type": "bigint"}
    assert "The default queries fit" in text
    assert watch(document, "projects") == {
        "resource": "project",
        "id": "id",
        "project": "id",
        "user": "owner_id",
    }
    assert watch(document, "project_members") == {
        "resource": "project_members",
        "id": "project_id || ':' || user_id",
        "project": "project_id",
        "user": "user_id",
    }
    own = table("projects", "id:uuid owner_id:uuid")
    _, document = rendered(own, table("users", "id:uuid"))
    assert document["access"]["project_type"] == "uuid"


def test_a_project_is_looked_up_through_as_many_parents_as_it_takes() -> None:
    text, document = rendered(USERS, PROJECTS, SPRINTS, TASKS, NOTES)
    assert [entry["table"] for entry in document["watch"]] == [
        "projects",
        "sprints",
        "tasks",
        "notes",
    ]
    assert watch(document, "sprints")["project"] == "project_id"
    assert watch(document, "tasks")["project"] == (
        "(select p1.project_id from public.sprints p1 where p1.id = changed.sprint_id)"
    )
    assert watch(document, "notes")["project"] == (
        "(select p2.project_id from public.tasks p1"
        " join public.sprints p2 on p2.id = p1.sprint_id where p1.id = changed.task_id)"
    )
    assert "once the parent is deleted" in text
    assert "once the parent is deleted" not in rendered(USERS, PROJECTS, SPRINTS)[0]


COMPOSITE = table("steps", "project_id no", OF_PROJECT, key="project_id no")
WAYS = [
    pytest.param(
        [COMPOSITE, table("x", "id p n", ("n p", "steps", "no project_id"))],
        "p",
        "",
        id="the project is part of a composite foreign key",
    ),
    pytest.param(
        [
            table("steps", "a b project_id", OF_PROJECT, key="a b"),
            table("x", "id a b", ("a b", "steps", "a b")),
        ],
        "(select p1.project_id from public.steps p1"
        " where p1.a = changed.a and p1.b = changed.b)",
        "",
        id="a composite foreign key that is not the project's",
    ),
    pytest.param(
        [table("x", "id slug:text", ("slug", "projects", "slug"))],
        "(select p1.id from public.projects p1 where p1.slug = changed.slug)",
        "",
        id="a project by something else than its primary key",
    ),
    pytest.param(
        [table("x", "id project_id?", OF_PROJECT)],
        "project_id",
        "# project_id may be NULL: a change of such a row is sent to nobody",
        id="a column that may be NULL",
    ),
    pytest.param(
        [SPRINTS, table("x", "id sprint_id?", OF_SPRINT, cascades=True)],
        "(select p1.project_id from public.sprints p1 where p1.id = changed.sprint_id)",
        "# x.sprint_id may be NULL: then no project is found",
        id="a look-up that may find nothing",
    ),
    pytest.param(
        [table("x", "id a? b", ("a", "projects", "id"), ("b", "projects", "id"))],
        "b",
        "# Check this path: a leads to a project on an equally short one",
        id="of two ways the one that is never NULL",
    ),
    pytest.param(
        [table("x", "id b a", ("b", "projects", "id"), ("a", "projects", "id"))],
        "a",
        "# Check this path: b leads",
        id="of two ways that are alike the first by name",
    ),
    pytest.param(
        [
            SPRINTS,
            COMPOSITE,
            table("x", "id a p n", ("a", "sprints", "id"), ("p n", "steps", "project_id no")),
        ],
        "p",
        "# Check this path: a leads",
        id="of two ways the one without a look-up",
    ),
    pytest.param(
        [table("x", "id project_id x_id", OF_PROJECT, ("x_id", "x", "id"))],
        "project_id",
        "",
        id="a table that refers to itself",
    ),
]


@pytest.mark.parametrize(("tables", "project", "remark"), WAYS)
def test_the_way_to_a_project(tables: list[DescribedTable], project: str, remark: str) -> None:
    text, document = rendered(USERS, PROJECTS, *tables)
    assert watch(document, "x")["project"] == project
    assert remark in text
    if not remark:
        assert "may be NULL" not in text
        assert "equally short" not in text


@pytest.mark.parametrize(
    ("columns", "key", "id_"),
    [
        ("id project_id", "id", "id"),
        ("Id project_id", "Id", '"Id"'),
        ("a:uuid b:text project_id", "a b", "a || ':' || b"),
        ("order b:jsonb project_id", "order b", "\"order\" || ':' || b::text"),
        ("project_id", "", None),
    ],
)
def test_the_id_of_a_row_is_its_primary_key(columns: str, key: str, id_: str | None) -> None:
    text, document = rendered(PROJECTS, table("x", columns, OF_PROJECT, key=key))
    assert watch(document, "x").get("id") == id_
    assert ("has no key without NULLs" in text) is (id_ is None)


def test_a_unique_key_without_nulls_does_for_a_primary_key() -> None:
    joined = table("x", "A B C? project_id", OF_PROJECT, key="", unique=["A C", "A B"])
    _, document = rendered(PROJECTS, joined)
    assert watch(document, "x")["id"] == '"A" || \':\' || "B"'


def test_what_hangs_on_a_user_is_that_users_own() -> None:
    users = table("users", "id current_project_id?", ("current_project_id", "projects", "id"))
    own = table("alerts", "id created_by user_id", OF_USER, ("created_by", "users", "id"))
    nowhere = table("versions", "number", key="")
    text, document = rendered(PROJECTS, users, own, nowhere)
    assert [entry["table"] for entry in document["watch"]] == ["projects"]
    assert '# table = "alerts"\n# resource = "alert"\n# id = "id"\n# user = "user_id"' in text
    assert "# Not watched: no foreign-key path to projects: versions" in text


def test_what_may_be_worth_a_watch_is_commented_out() -> None:
    text, _ = rendered(
        PROJECTS,
        USERS,
        table("loose", "projectId", key=""),
        table("other", "id project_id:text"),
    )
    assert '# table = "loose"\n# resource = "loose"\n# project = \'"projectId"\'' in text
    assert '# table = "users"\n# resource = "user"\n# id = "id"\n# user = "id"' in text
    assert "no foreign-key path to projects: other" in text


def test_columns_that_say_only_when_may_be_ignored() -> None:
    columns = (
        "id updated_at:timestamp project_id lastSeenAt:timestamp last_name:text created:date"
    )
    text, document = rendered(PROJECTS, table("x", columns, OF_PROJECT))
    assert '# ignore = ["updated_at", "lastSeenAt"]' in text
    assert "ignore" not in watch(document, "x")


def test_every_resource_has_a_name_of_its_own() -> None:
    names = ("project", "app.x", "x", "xs", "app.xs", "a.b_x", "b.x", "a_b.x", "!")
    tables = [
        table(name, "id workspace_id", ("workspace_id", "workspaces", "id")) for name in names
    ]
    _, document = rendered(table("workspaces", "id"), *tables, projects="workspaces")
    resources = [entry["resource"] for entry in document["watch"]]
    assert len(set(resources)) == len(names) + 1
    assert watch(document, "workspaces")["resource"] == "project"


def test_the_users_are_those_whom_projects_know() -> None:
    accounts = table("auth.users", "id")
    profiles = table("profiles", "id")
    two = table("members", "a b", key="a b")
    owned = table("projects", "id owner_id", ("owner_id", "profiles", "id"))
    found = discover([accounts, profiles, two, owned])
    assert found.users is profiles
    assert found.owner == Owner(Column("owner_id", "bigint"))
    named = table("x", "id user_id", ("user_id", "auth_user", "id"))
    assert discover([PROJECTS, profiles, table("auth_user", "id"), named]).users == table(
        "auth_user", "id"
    )
    by_name = table("projects", "id owner_id", ("owner_id", "profiles", "name"))
    found = discover([accounts, table("public.users", "id"), by_name])
    assert (found.users is not None, found.owner) == (True, None)


@pytest.mark.parametrize(
    ("tables", "wanted", "found"),
    [
        ([table("teams", "id"), table("projects", "id")], None, "projects"),
        ([table("teams", "id"), table("Workspace", "id")], None, '"Workspace"'),
        ([table("teams", "id"), table("projects", "id")], "teams", "teams"),
        ([table("app.teams", "id")], "app.teams", "app.teams"),
        ([table("Shop.Order Lines", "id")], '"Shop"."Order Lines"', '"Shop"."Order Lines"'),
        ([table("a.projects", "id", visible=False), PROJECTS], None, "projects"),
        ([table("projects", "id", visible=False)], None, "public.projects"),
        ([table("projects", "a b", key="a b"), table("tenants", "id")], None, "tenants"),
    ],
)
def test_the_table_of_projects(
    tables: list[DescribedTable], wanted: str | None, found: str
) -> None:
    assert discover(tables, projects=wanted).projects.short == found


@pytest.mark.parametrize(
    ("tables", "wanted", "told"),
    [
        ([], None, "the database has no tables"),
        ([SPRINTS, TASKS, NOTES, USERS], None, "most references: sprints, tasks, notes, users"),
        ([PROJECTS], "task", "there is no table task; name it with --projects TABLE"),
        (
            [PROJECTS, table("project", "id")],
            None,
            "public.project and public.projects look like the projects table",
        ),
        ([table("projects", "a b", key="a b")], None, "no primary key of a single column"),
        ([table("projects", "a", key="")], None, "no primary key of a single column"),
    ],
)
def test_an_unclear_projects_table_must_be_named(
    tables: list[DescribedTable], wanted: str | None, told: str
) -> None:
    with pytest.raises(UndecidedError) as refused:
        discover(tables, projects=wanted)
    assert told in str(refused.value)
    assert "--projects TABLE" in str(refused.value)


def test_what_was_found_is_described() -> None:
    maybe = table("loose_notes", "id sprint_id?", OF_SPRINT, cascades=True)
    found = discover([USERS, PROJECTS, MEMBERS, SPRINTS, maybe, table("versions", "id")])
    assert describe_discovery(found) == [
        "projects     projects (another: --projects TABLE)",
        "users        users",
        "watched      projects, project_members, sprints, loose_notes",
        "resetting    loose_notes (if a column on its path to the project is NULL)",
        "suggested    users",
        "not watched  versions",
        "access       " + describe_access(found),
    ]
    assert "no table was found" in describe_discovery(discover([table("teams", "id")]))[1]

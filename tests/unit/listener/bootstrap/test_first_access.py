"""The proposed access query: which users may see a project."""

import pytest

from listener.bootstrap.catalog import DescribedTable
from shared.config.access_rules import DEFAULT_QUERY, parse_access
from tests.unit.listener.bootstrap.described_tables import (
    MEMBERS,
    OF_PROJECT,
    OF_USER,
    PROJECTS,
    USERS,
    rendered,
    table,
)

ACCESS = [
    pytest.param(
        [USERS, PROJECTS],
        "where p.owner_id = asked.user_id::bigint\n",
        "projects.owner_id",
        id="an owner alone",
    ),
    pytest.param(
        [USERS, table("projects", "id lead", ("lead", "users", "id"))],
        "where p.lead = asked.user_id::bigint\n",
        "projects.lead",
        id="the only user that a project refers to",
    ),
    pytest.param(
        [USERS, table("projects", "id archived_by", ("archived_by", "users", "id"))],
        "where false -- nobody\n",
        "NOBODY",
        id="a user who is no owner",
    ),
    pytest.param(
        [USERS, table("projects", "id a b", ("a", "users", "id"), ("b", "users", "id"))],
        "where false -- nobody\n",
        "NOBODY",
        id="one of two who may be the owner",
    ),
    pytest.param(
        [table("users", "id:uuid"), table("projects", "id owner_id:text user_id:uuid")],
        "where p.user_id = asked.user_id::uuid\n",
        "projects.user_id",
        id="an owner without a foreign key has the users' type",
    ),
    pytest.param(
        [
            USERS,
            table("teams", "id"),
            table("projects", "id owner_id", ("owner_id", "teams", "id")),
        ],
        "where false -- nobody\n",
        "NOBODY",
        id="an owner that is no user",
    ),
    pytest.param(
        [table("projects", "id:uuid created_by:text")],
        "where p.created_by = asked.user_id::text\n",
        "projects.created_by",
        id="users that are not in the database",
    ),
    pytest.param(
        [table("projects", "id:citext")],
        "p on lower(p.id::text) = asked.project_id\n",
        "text is assumed",
        id="ids of another type",
    ),
    pytest.param(
        [
            table("projects", "id"),
            table(
                "members",
                "id project_id member_id:uuid",
                OF_PROJECT,
                unique=["member_id project_id"],
            ),
        ],
        "where exists (select from public.members m\n"
        "                where m.project_id = p.id and m.member_id = asked.user_id::uuid)\n",
        "those with a row in members",
        id="members that are not in the database",
    ),
    pytest.param(
        [
            USERS,
            table("projects", "id deleted_at?:timestamp owner_id"),
            table(
                "project_users",
                "id project_id user_id status:text",
                OF_PROJECT,
                OF_USER,
                unique=["project_id user_id"],
            ),
        ],
        "    or exists (select from public.project_users m\n",
        "projects.deleted_at, project_users.status",
        id="rows with a state",
    ),
    pytest.param(
        [
            USERS,
            PROJECTS,
            table(
                "project_bans",
                "project_id user_id",
                OF_PROJECT,
                OF_USER,
                key="project_id user_id",
            ),
        ],
        "where p.owner_id = asked.user_id::bigint\n",
        "makes a member: project_bans",
        id="a table of pairs whose name does not say member",
    ),
    pytest.param(
        [
            USERS,
            PROJECTS,
            MEMBERS,
            table(
                "project_users",
                "project_id user_id",
                OF_PROJECT,
                OF_USER,
                key="user_id project_id",
            ),
        ],
        "where p.owner_id = asked.user_id::bigint\n",
        "makes a member: project_members, project_users",
        id="two tables of members",
    ),
    pytest.param(
        [
            table("users", "id:uuid"),
            table("projects", "id owner_id:uuid"),
            table(
                "project_members",
                "project_id user_id:text",
                OF_PROJECT,
                key="project_id user_id",
            ),
        ],
        "m.user_id::text = asked.user_id)\n",
        "those with a row in project_members",
        id="members of another type than the users",
    ),
]


@pytest.mark.parametrize(("tables", "query", "told"), ACCESS)
def test_who_may_see_a_project(tables: list[DescribedTable], query: str, told: str) -> None:
    text, document = rendered(*tables)
    assert query in document["access"]["query"]
    assert told in text.replace("\n# ", " ")
    assert ("members" in document["access"]) == ("NOBODY" not in text)
    assert parse_access(document).query != DEFAULT_QUERY


def test_members_are_looked_for_by_projects_as_they_are_spelled() -> None:
    _, document = rendered(USERS, PROJECTS)
    assert "p.id = any ($1::text[]::bigint[])" in document["access"]["members"]
    _, document = rendered(table("projects", "id:citext owner_id"))
    assert "lower(p.id::text) = any ($1::text[])" in document["access"]["members"]
    _, document = rendered(table("projects", "id:character owner_id"))
    assert "p.id::text = any ($1::text[])" in document["access"]["members"]

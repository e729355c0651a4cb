"""The access that is proposed where no table shows it for certain."""

import pytest

from listener.bootstrap.catalog import Column, DescribedTable
from listener.bootstrap.discovery import discover
from listener.bootstrap.first_access import describe_access
from tests.unit.listener.bootstrap.described_tables import (
    OF_PROJECT,
    OF_USER,
    USERS,
    rendered,
    table,
)

OF_ORGANIZATION = ("organization_id", "organizations", "id")
OWNED = table("projects", "id organization_id", OF_ORGANIZATION)
ORGANIZATIONS = table("organizations", "id owner_id", ("owner_id", "users", "id"))
PROPOSED = [
    pytest.param(
        [OWNED, ORGANIZATIONS],
        "the owner of its organization (organizations.owner_id)",
        "exists (select from public.organizations m\n"
        "                where m.id = p.organization_id and m.owner_id = ",
        id="the owner of a parent",
    ),
    pytest.param(
        [
            OWNED,
            table("organizations", "id"),
            table("organization_users", "id organization_id user_id", OF_ORGANIZATION, OF_USER),
        ],
        "those with a row in organization_users of its organization",
        "exists (select from public.organizations p1\n"
        "                 join public.organization_users m on m.organization_id = p1.id\n"
        "                where p1.id = p.organization_id and m.user_id = ",
        id="the members of a parent",
    ),
    pytest.param(
        [
            OWNED,
            table("organizations", "id group_id", ("group_id", "groups", "id")),
            table("groups", "id"),
            table("members", "group_id user_id", ("group_id", "groups", "id"), OF_USER, key=""),
        ],
        "those with a row in members of its group",
        "join public.groups p2 on p2.id = p1.group_id",
        id="the members of a parent's parent",
    ),
    pytest.param(
        [
            table("projects", "id"),
            table("project_roles", "id project_id user_id", OF_PROJECT, OF_USER),
        ],
        'add user = "user_id" to the watch of project_roles',
        "m.project_id = p.id and m.user_id = asked.user_id::bigint",
        id="pairs that are not unique",
    ),
]


@pytest.mark.parametrize(("tables", "told", "query"), PROPOSED)
def test_the_most_likely_access_is_proposed(
    tables: list[DescribedTable], told: str, query: str
) -> None:
    text, document = rendered(USERS, *tables)
    assert "where false -- nobody" in document["access"]["query"]
    assert told in text.replace("\n# ", " ")
    assert query in text.replace("\n# ", "\n")
    assert "Most likely" in describe_access(discover([USERS, *tables]))


def test_users_of_one_project_alone_are_proposed() -> None:
    users = table(
        "users",
        "id tenant_id last_tenant_id?",
        ("tenant_id", "tenants", "id"),
        ("last_tenant_id", "tenants", "id"),
    )
    found = discover([table("tenants", "id"), users])
    assert [one for one, _ in found.watched] == [found.projects, users]
    assert (
        "Most likely it should be: the users of the project (by users.tenant_id)."
        in describe_access(found)
    )
    lent = table("projects", "id region_id", ("region_id", "regions", "id"))
    users = table("users", "id region_id", ("region_id", "regions", "id"))
    assert not discover([lent, users, table("regions", "id")]).proposed
    unknown = table("organization_users", "user_id:uuid organization_id", OF_ORGANIZATION)
    found = discover([OWNED, table("organizations", "id"), unknown])
    assert found.user_id == Column("user_id", "uuid")


def test_a_guessed_owner_is_called_a_guess() -> None:
    made = table("projects", "id created_by", ("created_by", "users", "id"))
    text, document = rendered(USERS, made)
    assert "p.created_by = asked.user_id::bigint" in document["access"]["query"]
    assert "projects.created_by is a guess" in text
    assert "its owner, guessed to be" in describe_access(discover([USERS, made]))
    pairs = table(
        "project_users", "project_id user_id", OF_PROJECT, OF_USER, key="project_id user_id"
    )
    found = discover([USERS, made, pairs])
    assert (found.owner, found.membership is None) == (None, False)

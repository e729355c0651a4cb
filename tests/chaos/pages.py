"""The app's API as SQL: what a user sees of a project, and of the list of projects."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias
from uuid import UUID

import asyncpg

Row: TypeAlias = tuple[str, str]  # resource and id, as events name them
Versions: TypeAlias = Mapping[Row, str]

TABLES: Final = {
    "project": ("projects", "id", "id::text"),
    "sprint": ("sprints", "project_id", "id::text"),
    "task": ("tasks", "project_id", "id::text"),
    "project_members": ("project_members", "project_id", "project_id || ':' || user_id"),
    "message": ("messages", "project_id", "id::text"),
}
_MAY_SEE: Final = (
    "exists (select from projects o where o.id = {project} and (o.owner_id = {user} or exists"
    " (select from project_members m where m.project_id = o.id and m.user_id = {user})))"
)
_ROWS: Final = " union all ".join(
    f"select '{resource}' as resource, {id_} as id, md5(t::text) as version"
    f" from {table} t where {project} = $1"
    for resource, (table, project, id_) in TABLES.items()
)
_PAGE: Final = (
    f"select null as resource, null as id, {_MAY_SEE.format(project='$1', user='$2')}::text"
    f" as version union all {_ROWS}"
)
_LIST: Final = (
    "select p.id::text, md5(p::text) as version from projects p"
    f" where {_MAY_SEE.format(project='p.id', user='$1')} order by 1"
)
_ALL_ACCESS: Final = (
    "select id::text as project, owner_id::text as user from projects"
    " union select project_id::text, user_id::text from project_members"
)


@dataclass(frozen=True)
class Page:
    """One project as one user sees it. ``rows`` is None if access is refused."""

    rows: Versions | None


async def load_page(
    database: "asyncpg.Connection[asyncpg.Record]", project: str, user: str
) -> Page:
    """Return all rows of a project, from one snapshot."""
    head, *rows = await database.fetch(_PAGE, UUID(project), UUID(user))
    return _page(head, rows)


async def load_row(
    database: "asyncpg.Connection[asyncpg.Record]", project: str, user: str, row: Row
) -> Page:
    """Return one row of a project; ``rows`` is empty if it does not exist."""
    resource, id_ = row
    sql = f"select * from ({_PAGE}) as page where resource is null or (resource, id) = ($3, $4)"
    head, *rows = await database.fetch(sql, UUID(project), UUID(user), resource, id_)
    return _page(head, rows)


def _page(head: "asyncpg.Record", rows: "Sequence[asyncpg.Record]") -> Page:
    if head["version"] != "true":
        return Page(None)
    return Page({(row["resource"], row["id"]): row["version"] for row in rows})


async def load_list(
    database: "asyncpg.Connection[asyncpg.Record]", user: str
) -> dict[str, str]:
    """Return the projects that a user may see, each with its version."""
    return {row["id"]: row["version"] for row in await database.fetch(_LIST, UUID(user))}


async def load_access(
    database: "asyncpg.Connection[asyncpg.Record]",
) -> set[tuple[str, str]]:
    """Return all pairs of a project and a user who may see it."""
    return {(row["project"], row["user"]) for row in await database.fetch(_ALL_ACCESS)}

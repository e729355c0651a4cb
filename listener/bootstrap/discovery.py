"""Finds the tables to watch and who may see their projects, from the catalog alone.

The projects table is found by its name, and the paths to it by foreign keys. What foreign keys
do not show is left to the review of the file.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from listener.bootstrap.access_grants import Grant, Link, propose_grants
from listener.bootstrap.catalog import Column, DescribedTable, TableKey
from listener.bootstrap.naming import singular, snake_case
from listener.bootstrap.paths import Paths, TablePath, find_paths
from listener.bootstrap.project_members import (
    MembershipTable,
    Owner,
    find_memberships,
    find_owner,
    find_users,
    user_columns,
)

# In order of preference.
PROJECT_NAMES: Final = (
    "project",
    "workspace",
    "organization",
    "organisation",
    "org",
    "team",
    "tenant",
    "account",
    "board",
)
_MOST_CANDIDATES: Final = 8


class UndecidedError(Exception):
    """It is unclear which table holds the projects; the text says what to do."""


# Why a table is only suggested:
# - loose: a column is named like a reference to projects, but has no foreign key
# - own: its rows belong to a user, not to a project
# - optional: a column on the path to the project is usually NULL
# - parent: projects refer to it, so a row belongs to many projects
# - polymorphic: a pair of columns holds the type and the id of the row it belongs to
Reason: TypeAlias = Literal["loose", "own", "optional", "parent", "polymorphic"]


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A table that is not watched, but that the file suggests to watch."""

    table: DescribedTable
    reason: Reason
    path: TablePath | None = None
    user: str | None = None
    pair: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Discovery:
    """What the tables show.

    ``lookalikes`` have the columns of a membership table, but another name. ``proposed`` is the
    most likely access where there is no membership table.
    """

    projects: DescribedTable
    project_id: Column
    users: DescribedTable | None
    owner: Owner | None
    membership: MembershipTable | None
    lookalikes: tuple[DescribedTable, ...]
    proposed: tuple[Grant, ...]
    watched: tuple[tuple[DescribedTable, TablePath], ...]
    suggested: tuple[Suggestion, ...]
    parents: tuple[DescribedTable, ...]
    unrelated: tuple[DescribedTable, ...]
    tables: Mapping[TableKey, DescribedTable]

    @property
    def grants(self) -> tuple[Grant, ...]:
        """The rows that give users access to a project."""
        found = []
        if self.owner is not None:
            found.append(Grant((), self.owner.column.name, is_owner=True))
        if self.membership is not None:
            project = (self.membership.project, self.project_id.name)
            link = Link(self.membership.table.key, (project,))
            found.append(Grant((link,), self.membership.user))
        return tuple(found)

    @property
    def user_id(self) -> Column | None:
        """A column that holds users' ids, if possible the key of the users table."""
        if self.users is not None:
            return self.users.column(self.users.primary_key[0])
        columns = [self.user_column(grant) for grant in (*self.grants, *self.proposed)]
        return columns[-1] if columns else None

    def granting(self, grant: Grant) -> DescribedTable:
        """Return the table whose rows name the users."""
        return self.tables[grant.links[-1].target] if grant.links else self.projects

    def user_column(self, grant: Grant) -> Column:
        """Return the column of that table that names them."""
        return self.granting(grant).column(grant.user)


def discover(tables: Sequence[DescribedTable], *, projects: str | None = None) -> Discovery:
    """Find what to watch. *projects* names the projects table; by default it is guessed.

    Raises:
        UndecidedError: no table or several look like it, or its key is not a single column.
    """
    known = {table.key: table for table in sorted(tables, key=lambda table: table.key)}
    root = _choose_projects(known, projects)
    if not _has_id(root):
        raise UndecidedError(
            f"{root.short} has no primary key of a single column, which projects need as their "
            "id: name another table with --projects TABLE"
        )
    users = find_users(known, root)
    paths = find_paths(known, root, users)
    rest = [table for key, table in known.items() if key not in paths.certain]
    suggested = [
        found
        for table in rest
        if (found := _suggest(table, paths, root=root, users=users)) is not None
    ]
    unrelated = [table for table in rest if table not in [found.table for found in suggested]]
    direct = [
        (known[key], path.column) for key, path in paths.certain.items() if not path.steps
    ]
    members, lookalikes = find_memberships(direct, root, users)
    membership = members[0] if len(members) == 1 else None
    owner = find_owner(root, users)
    if owner is not None and owner.is_guess and membership is not None:
        owner = None  # the creator may have left the project since
    return Discovery(
        root,
        root.column(root.primary_key[0]),
        users,
        owner,
        membership,
        (*lookalikes, *(found.table for found in members if len(members) > 1)),
        propose_grants(known, root, users) if membership is None else (),
        tuple((known[key], path) for key, path in paths.certain.items()),
        tuple(suggested),
        tuple(table for table in unrelated if table.key in paths.parents),
        tuple(table for table in unrelated if table.key not in paths.parents),
        known,
    )


def _choose_projects(
    known: Mapping[TableKey, DescribedTable], wanted: str | None
) -> DescribedTable:
    if wanted is not None:
        found = [
            table
            for table in known.values()
            if wanted in (table.name, f"{table.schema}.{table.name}", table.short, table.sql)
        ]
        problem = f"there is no table {wanted}"
    else:
        ranks = {
            key: PROJECT_NAMES.index(name)
            for key in known
            if (name := singular(key[1])) in PROJECT_NAMES
        }
        # Projects whose key includes their tenant's: then the tenants serve as projects.
        ranks = {key: rank for key, rank in ranks.items() if _has_id(known[key])} or ranks
        found = [known[key] for key in ranks if ranks[key] == min(ranks.values())]
        problem = "no table looks like the projects table"
    if len(found) > 1:
        problem = f"{' and '.join(table.sql for table in found)} look like the projects table"
        found = [table for table in found if table.visible]
    if len(found) == 1:
        return found[0]
    raise UndecidedError(f"{problem}; name it with --projects TABLE; {_candidates(known)}")


def _has_id(table: DescribedTable) -> bool:
    return len(table.primary_key) == 1


def _candidates(known: Mapping[TableKey, DescribedTable]) -> str:
    referring = {
        key: sum(any(fk.target == key for fk in other.foreign_keys) for other in known.values())
        for key in known
    }
    most = sorted(known.values(), key=lambda table: (-referring[table.key], table.key))
    if not most:
        return "the database has no tables"
    listed = ", ".join(table.short for table in most[:_MOST_CANDIDATES])
    return f"the tables with the most references: {listed}"


def _suggest(
    table: DescribedTable, paths: Paths, *, root: DescribedTable, users: DescribedTable | None
) -> Suggestion | None:
    own = next(iter(user_columns(table, users)), None)
    if table is users:
        return Suggestion(table, "own", user=table.primary_key[0])
    if table.key in paths.uncertain:
        reason: Reason = "parent" if table.key in paths.parents else "optional"
        return Suggestion(table, reason, path=paths.uncertain[table.key], user=own)
    if table.key in paths.parents:
        return None
    project = table.named([f"{singular(root.name)}_id"])
    id_type = root.column(root.primary_key[0]).id_type
    if project is not None and table.column(project).id_type == id_type:
        return Suggestion(table, "loose", path=TablePath(project))
    pair = _polymorphic(table)
    if pair is not None:
        return Suggestion(table, "polymorphic", pair=pair)
    return Suggestion(table, "own", user=own) if own is not None else None


def _polymorphic(table: DescribedTable) -> tuple[str, str] | None:
    """Return the columns of a polymorphic reference: the type and the id of its target."""
    for column in table.columns:
        name = snake_case(column.name)
        if name in ("content_type_id", "content_type"):
            key = table.named(["object_id", "object_pk"])
        else:
            key = table.named([f"{name.removesuffix('_type')}_id"])
            key = key if name.endswith("_type") else None
        if key is not None and not any(key in fk.columns for fk in table.foreign_keys):
            return column.name, key
    return None

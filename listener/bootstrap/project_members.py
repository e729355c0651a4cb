"""Finds who may see a project: its owner and its members."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from listener.bootstrap.catalog import Column, DescribedTable, TableKey
from listener.bootstrap.naming import singular, snake_case

# In order of preference. The empty name ranks tables that columns named user_id refer to.
_USER_NAMES: Final = ("user", "app_user", "", "profile", "account", "person")
_OWNER_NAMES: Final = (
    "owner_id",
    "owner",
    "owner_user_id",
    "user_id",
    "created_by",
    "creator_id",
)
_SURE_OWNER_NAMES: Final = ("owner_id", "owner", "owner_user_id", "user_id")
_PLAIN_OWNER_NAMES: Final = ("owner_id", "created_by", "user_id")
_NO_OWNER: Final = re.compile(r"last_|(updat|modif|edit|archiv|delet|clos|approv|review)")
_MEMBER_NAMES: Final = ("user_id", "member_id")
_USER_COLUMNS: Final = (*_MEMBER_NAMES, *_OWNER_NAMES)
MEMBERSHIP_WORDS: Final = frozenset(
    ("member", "membership", "user", "collaborator", "participant", "access", "permission")
)


@dataclass(frozen=True, slots=True)
class Owner:
    """The column of the projects table that holds the owner, by its name or as a guess."""

    column: Column

    @property
    def is_guess(self) -> bool:
        return snake_case(self.column.name) not in _SURE_OWNER_NAMES


@dataclass(frozen=True, slots=True)
class MembershipTable:
    """A table with a row for each member of a project, and its columns for both."""

    table: DescribedTable
    project: str
    user: str


def find_users(
    known: Mapping[TableKey, DescribedTable], projects: DescribedTable
) -> DescribedTable | None:
    """Return the users table, preferably one that projects or their children refer to."""
    near = [projects] + [
        table
        for table in known.values()
        if any(key.target == projects.key for key in table.foreign_keys)
    ]
    referred = {key.target for table in near for key in table.foreign_keys}
    named = Counter(
        key.target
        for table in known.values()
        for key in table.foreign_keys
        if snake_case(key.columns[0]) == "user_id"
    )

    def rank(table: DescribedTable) -> tuple[bool, int, int, bool]:
        name = singular(table.name)
        place = _USER_NAMES.index(name if name in _USER_NAMES else "")
        return table.key not in referred, place, -named[table.key], table.schema != "public"

    found = [
        table
        for table in known.values()
        if table is not projects
        and (singular(table.name) in _USER_NAMES or table.key in named)
        and len(table.primary_key) == 1
    ]
    return min(found, key=rank, default=None)


def user_columns(table: DescribedTable, users: DescribedTable | None) -> list[str]:
    """Return the columns that refer to the users, the most likely owner of the row first."""
    found = {
        key.columns[0]
        for key in table.foreign_keys
        if users is not None
        and (key.target, key.target_columns) == (users.key, users.primary_key)
    }

    def rank(name: str) -> tuple[int, str]:
        known = snake_case(name) in _USER_COLUMNS
        return _USER_COLUMNS.index(snake_case(name)) if known else len(_USER_COLUMNS), name

    return sorted(found, key=rank)


def name_words(table: DescribedTable | None) -> set[str]:
    """Return the words of a table's name, in the singular."""
    return set(singular(table.name).split("_")) if table is not None else set()


def member_column(table: DescribedTable, users: DescribedTable | None) -> str | None:
    """Return the column with the user of a row, by a foreign key or else by its name."""
    return next(iter(user_columns(table, users)), table.named(_MEMBER_NAMES))


def find_owner(projects: DescribedTable, users: DescribedTable | None) -> Owner | None:
    """Return the column of the projects table that holds the owner.

    It refers to the users and has an owner's name, or is the only one that refers to them, or
    has an owner's name and the type of users' ids without a foreign key.
    """
    referring = user_columns(projects, users)
    if referring and snake_case(referring[0]) in _OWNER_NAMES:
        return Owner(projects.column(referring[0]))
    bound = {name for key in projects.foreign_keys for name in key.columns}
    id_type = users.column(users.primary_key[0]).id_type if users is not None else None
    for column in projects.columns:
        fits = id_type is None or column.id_type == id_type
        if snake_case(column.name) in _PLAIN_OWNER_NAMES and fits and column.name not in bound:
            return Owner(column)
    if len(referring) == 1 and not _NO_OWNER.match(snake_case(referring[0])):
        return Owner(projects.column(referring[0]))
    return None


def find_memberships(
    columns: Iterable[tuple[DescribedTable, str]],
    projects: DescribedTable,
    users: DescribedTable | None,
) -> tuple[list[MembershipTable], list[DescribedTable]]:
    """Return the membership tables, and tables with the same columns but another name.

    *columns*: tables, each with the column that holds its rows' project. The name of a
    membership table must say so and nothing else: bans and stars also pair projects and users,
    and every member may see the project.
    """
    allowed = MEMBERSHIP_WORDS | name_words(projects) | name_words(users)
    members: list[MembershipTable] = []
    lookalikes: list[DescribedTable] = []
    for table, project in columns:
        user = member_column(table, users)
        if user is None or {project, user} not in map(set, table.unique):
            continue
        if {singular(word) for word in snake_case(table.name).split("_")} <= allowed:
            members.append(MembershipTable(table, project, user))
        else:
            lookalikes.append(table)
    return members, lookalikes

"""Finds the rows that give users access to a project, or probably do."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from listener.bootstrap.catalog import DescribedTable, ForeignKey, TableKey
from listener.bootstrap.naming import singular, snake_case
from listener.bootstrap.paths import is_pointer
from listener.bootstrap.project_members import (
    MEMBERSHIP_WORDS,
    find_owner,
    member_column,
    name_words,
)

# Parents of projects whose users usually may see all their projects.
_TENANTS: Final = frozenset(
    (
        "account",
        "agency",
        "client",
        "company",
        "customer",
        "group",
        "org",
        "organisation",
        "organization",
        "team",
        "tenant",
        "workspace",
    )
)
_JOINING_WORDS: Final = frozenset(("to", "role", "assignment", "grant", "share", "staff"))


@dataclass(frozen=True, slots=True)
class Link:
    """A join to a table: pairs of a column there and one of the row before."""

    target: TableKey
    pairs: tuple[tuple[str, str], ...]

    @classmethod
    def up(cls, key: ForeignKey) -> "Link":
        """Return the link to the row that a foreign key refers to."""
        return cls(key.target, tuple(zip(key.target_columns, key.columns, strict=True)))

    @classmethod
    def down(cls, table: DescribedTable, key: ForeignKey) -> "Link":
        """Return the link to the rows that refer to one by a foreign key."""
        return cls(table.key, tuple(zip(key.columns, key.target_columns, strict=True)))


@dataclass(frozen=True, slots=True)
class Grant:
    """The users in a column of the rows that the links lead to, starting at a project's row."""

    links: tuple[Link, ...]
    user: str
    is_owner: bool = False


def propose_grants(
    known: Mapping[TableKey, DescribedTable],
    projects: DescribedTable,
    users: DescribedTable | None,
) -> tuple[Grant, ...]:
    """Return the most likely grants: members of the projects or of their nearest parents."""
    seen = {projects.key} | ({users.key} if users is not None else set())
    level: list[tuple[DescribedTable, tuple[Link, ...]]] = [(projects, ())]
    while level:
        found = [
            grant
            for table, links in level
            for grant in _grants_at(known.values(), table, users, links)
        ]
        if found:
            return tuple(found)
        above = []
        for table, links in level:
            for key in table.foreign_keys:
                if key.target in known and key.target not in seen:
                    seen.add(key.target)
                    above.append((known[key.target], (*links, Link.up(key))))
        level = above
    return ()


def _grants_at(
    tables: Iterable[DescribedTable],
    table: DescribedTable,
    users: DescribedTable | None,
    links: tuple[Link, ...],
) -> Iterator[Grant]:
    for other in tables:
        for key in other.foreign_keys:
            if key.target != table.key or any(map(is_pointer, key.columns)):
                continue
            user = member_column(other, users)
            if other is users:
                if not links or singular(table.name).rpartition("_")[2] in _TENANTS:
                    yield Grant((*links, Link.down(other, key)), users.primary_key[0])
            elif user is not None and _joins(other, table, users):
                yield Grant((*links, Link.down(other, key)), user)
    owner = find_owner(table, users) if links else None
    if owner is not None and not owner.is_guess:
        yield Grant(links, owner.column.name, is_owner=True)


def _joins(table: DescribedTable, of: DescribedTable, users: DescribedTable | None) -> bool:
    """Whether a table's name says that it only joins users to the rows of another."""
    words = {singular(word) for word in snake_case(table.name).split("_")}
    joining = MEMBERSHIP_WORDS | _JOINING_WORDS | name_words(users)
    return words <= name_words(of) | joining and not words.isdisjoint(joining)

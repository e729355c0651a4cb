"""What a database says of itself -> what there is to watch in it, and who may hear of it.

Projects are found by name, the way to them by foreign keys. What a foreign key can't tell is
left to whoever reviews the file.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from listener.core.catalog import Column, DescribedTable, ForeignKey, TableKey
from listener.core.naming import singular
from listener.core.people import (
    Membership,
    find_memberships,
    find_owner,
    find_users,
    user_columns,
)

# The best known first.
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
    """The tables do not tell which of them holds the projects; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row's project stands.

    In ``column`` of the row itself, or of the last parent that the foreign keys in ``steps``
    lead to. ``nullable`` names what may be NULL on the way, ``others`` the ways that are as
    short as this one.
    """

    column: str
    steps: tuple[ForeignKey, ...] = ()
    nullable: tuple[str, ...] = ()
    others: tuple[ForeignKey, ...] = ()


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A table without a way to the projects that may be worth a watch all the same."""

    table: DescribedTable
    project: str | None = None
    user: str | None = None


@dataclass(frozen=True, slots=True)
class Discovery:
    """All that the tables tell; ``lookalikes`` are like the membership but for their names."""

    projects: DescribedTable
    project_id: Column
    users: DescribedTable | None
    owner: Column | None
    membership: Membership | None
    lookalikes: tuple[DescribedTable, ...]
    placed: tuple[tuple[DescribedTable, Place], ...]
    suggested: tuple[Suggestion, ...]
    unplaced: tuple[DescribedTable, ...]
    tables: Mapping[TableKey, DescribedTable]

    @property
    def is_heard(self) -> bool:
        """Whether any row says of a user that they may hear of a project."""
        return self.owner is not None or self.membership is not None

    @property
    def user_id(self) -> Column | None:
        """A column that holds users' ids; the users' own, where there is one."""
        if self.users is not None:
            return self.users.column(self.users.primary_key[0])
        if self.membership is not None:
            return self.membership.table.column(self.membership.user)
        return self.owner


def discover(tables: Sequence[DescribedTable], *, projects: str | None = None) -> Discovery:
    """What there is to watch, around the table of projects, named or found by its name.

    Raises:
        UndecidedError: no table, or more than one, may be it; or its key is not one column.
    """
    known = {table.key: table for table in sorted(tables, key=lambda table: table.key)}
    root = _choose_projects(known, projects)
    if len(root.primary_key) != 1:
        raise UndecidedError(
            f"{root.short} has no primary key of a single column, which a project's id must "
            "be: name another table with --projects TABLE"
        )
    users = find_users(known, root)
    placed = _place_tables(known, root, users)
    rest = [table for key, table in known.items() if key not in placed]
    suggested = [
        found
        for table in rest
        if (found := _suggest(table, root=root, users=users)) is not None
    ]
    direct = [(known[key], place.column) for key, place in placed.items() if not place.steps]
    members, lookalikes = find_memberships(direct, root, users)
    return Discovery(
        root,
        root.column(root.primary_key[0]),
        users,
        find_owner(root, users),
        members[0] if len(members) == 1 else None,
        (*lookalikes, *(found.table for found in members if len(members) > 1)),
        tuple((known[key], place) for key, place in placed.items()),
        tuple(suggested),
        tuple(table for table in rest if table not in [found.table for found in suggested]),
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
        found = [known[key] for key in ranks if ranks[key] == min(ranks.values())]
        problem = "no table is named as one of projects usually is"
    if len(found) > 1:
        problem = f"{' and '.join(table.sql for table in found)} may both hold the projects"
        found = [table for table in found if table.visible]
    if len(found) == 1:
        return found[0]
    raise UndecidedError(
        f"{problem}: name the table with --projects TABLE; {_candidates(known)}"
    )


def _candidates(known: Mapping[TableKey, DescribedTable]) -> str:
    referring = {
        key: sum(any(fk.target == key for fk in other.foreign_keys) for other in known.values())
        for key in known
    }
    most = sorted(known.values(), key=lambda table: (-referring[table.key], table.key))
    if not most:
        return "the database has no tables"
    listed = ", ".join(table.short for table in most[:_MOST_CANDIDATES])
    return f"those that most others refer to come first: {listed}"


def _place_tables(
    known: Mapping[TableKey, DescribedTable],
    projects: DescribedTable,
    users: DescribedTable | None,
) -> dict[TableKey, Place]:
    """The shortest way of each table to the projects, the nearest tables first.

    Never by the users: what hangs on a user is that user's own.
    """
    placed = {projects.key: Place(projects.primary_key[0])}
    ring = dict(placed)
    while ring:
        parents = {key for key in ring if users is None or key != users.key}
        ring = {
            table.key: _nearest(table, parents, placed)
            for table in known.values()
            if table.key not in placed
            and any(key.target in parents for key in table.foreign_keys)
        }
        placed |= ring
    return placed


def _nearest(
    table: DescribedTable, parents: set[TableKey], placed: Mapping[TableKey, Place]
) -> Place:
    ways = [
        (_step(table, key, placed[key.target]), key)
        for key in table.foreign_keys
        if key.target in parents
    ]
    ways.sort(key=lambda way: (len(way[0].steps), len(way[0].nullable), way[1].columns))
    (place, taken), *others = ways
    return Place(
        place.column,
        place.steps,
        place.nullable,
        tuple(key for _, key in others if key.columns != taken.columns),
    )


def _step(table: DescribedTable, key: ForeignKey, parent: Place) -> Place:
    """The place of a row whose parent's is known."""
    own = key.source_of(parent.column)
    if not parent.steps and own is not None:
        return Place(own, (), _nullable(table, (own,)))
    nullable = (*_nullable(table, key.columns), *parent.nullable)
    return Place(parent.column, (key, *parent.steps), nullable)


def _nullable(table: DescribedTable, names: Iterable[str]) -> tuple[str, ...]:
    return tuple(f"{table.name}.{name}" for name in names if table.column(name).nullable)


def _suggest(
    table: DescribedTable, *, root: DescribedTable, users: DescribedTable | None
) -> Suggestion | None:
    project = table.named([f"{singular(root.name)}_id"])
    id_type = root.column(root.primary_key[0]).id_type
    if project is not None and table.column(project).id_type == id_type:
        return Suggestion(table, project=project)
    own = list(table.primary_key) if table is users else user_columns(table, users)
    return Suggestion(table, user=own[0]) if own else None

"""Foreign keys -> the path of each table to the projects."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from listener.bootstrap.catalog import DescribedTable, ForeignKey, TableKey
from listener.bootstrap.naming import singular, snake_case

Known: TypeAlias = Mapping[TableKey, DescribedTable]

# A nullable column of such a name points to one of many, and does not place its row.
_POINTER: Final = re.compile(
    r"(current|default|active|last|latest|selected|home|primary|main|favou?rite|recent"
    r"|preferred|pinned|featured)_\w+"
)


@dataclass(frozen=True, slots=True)
class TablePath:
    """Where a row's project stands.

    In ``column`` of the row itself, or of the last parent that the foreign keys in ``steps``
    lead to. ``nullable`` names what may be NULL on the way, ``doubtful`` what of it ordinary
    rows may well lack, ``others`` the ways that are as short as this one.
    """

    column: str
    steps: tuple[ForeignKey, ...] = ()
    nullable: tuple[str, ...] = ()
    doubtful: tuple[str, ...] = ()
    others: tuple[ForeignKey, ...] = ()


@dataclass(frozen=True, slots=True)
class Paths:
    """``placed``: tables whose ordinary rows have a project, the nearest first.

    ``doubtful``: those whose ordinary rows may have none, or that the projects refer to.
    ``parents``: tables that the projects refer to, directly or not.
    """

    placed: Mapping[TableKey, TablePath]
    doubtful: Mapping[TableKey, TablePath]
    parents: frozenset[TableKey]


def find_paths(known: Known, projects: DescribedTable, users: DescribedTable | None) -> Paths:
    """The shortest path of each table to the projects.

    Never by the users, since what hangs on a user is that user's own, and never by a parent of
    the projects, whose row is of many projects.
    """
    return _Search(known, projects, users).find()


class _Search:
    def __init__(
        self, known: Known, projects: DescribedTable, users: DescribedTable | None
    ) -> None:
        self._known = known
        self._projects = projects
        self._users = {users.key} if users is not None else set()
        self._parents = _referred(known, projects, lambda *_: True)
        self._mandatory = _referred(known, projects, _is_mandatory)
        self._start = {projects.key: TablePath(projects.primary_key[0])}
        # Some frameworks make every reference nullable unless told otherwise.
        self._tells_nothing = not any(
            _is_mandatory(table, key) and not set(key.columns) <= set(table.primary_key)
            for table in known.values()
            for key in table.foreign_keys
        )
        self._below: set[TableKey] = set()
        self._below = set(self._spread(self._start, self._users | self._parents, _any_way))

    def find(self) -> Paths:
        placed = self._spread(self._start, self._users, self._is_certain)
        ends = self._users | (self._parents - set(placed))
        every = self._spread(placed, ends, _any_way)
        doubtful = {key: place for key, place in every.items() if key not in placed}
        return Paths(placed, doubtful, frozenset(self._parents - set(placed)))

    def _spread(
        self,
        start: Mapping[TableKey, TablePath],
        ends: set[TableKey],
        is_way: Callable[[DescribedTable, TablePath], bool],
    ) -> dict[TableKey, TablePath]:
        """All that ways lead to the start from, ring by ring; no way leads through the ends."""
        placed = dict(start)
        ring = dict(start)
        while ring:
            targets = {key for key in ring if key not in ends}
            found = {}
            for table in self._known.values():
                ways = [
                    (place, key)
                    for key in table.foreign_keys
                    if key.target in targets and table.key not in placed
                    for place in [self._step(table, key, placed[key.target])]
                    if is_way(table, place)
                ]
                if ways:
                    found[table.key] = _nearest(ways)
            ring = found
            placed |= ring
        return placed

    def _step(self, table: DescribedTable, key: ForeignKey, parent: TablePath) -> TablePath:
        """The place of a row whose parent's is known."""
        own = key.source_of(parent.column)
        is_direct = not parent.steps and own is not None
        names = (own,) if is_direct and own is not None else key.columns
        nullable = tuple(
            f"{table.name}.{name}" for name in names if table.column(name).nullable
        )
        doubtful = nullable if nullable and self._is_doubtful(table, key) else ()
        if is_direct and own is not None:
            return TablePath(own, (), nullable, doubtful)
        return TablePath(
            parent.column,
            (key, *parent.steps),
            (*nullable, *parent.nullable),
            (*doubtful, *parent.doubtful),
        )

    def _is_certain(self, table: DescribedTable, place: TablePath) -> bool:
        """Whether ordinary rows have a project by this way, and no more than one."""
        if table.key in self._mandatory:
            return False
        if place.steps:
            belongs = not place.nullable
            return belongs if table.key in self._parents | self._users else not place.doubtful
        is_named = snake_case(place.column) == f"{singular(self._projects.name)}_id"
        if table.key in self._parents and place.nullable and not is_named:
            return False
        return not (place.nullable and is_pointer(place.column))

    def _is_doubtful(self, table: DescribedTable, key: ForeignKey) -> bool:
        """Whether ordinary rows may have a NULL in this nullable reference."""
        if key.sets_null or any(map(is_pointer, key.columns)):
            return True
        others = [
            other
            for other in table.foreign_keys
            if other.columns != key.columns and other.target != table.key
        ]
        if any(other.target in self._below for other in others):
            return True
        if self._tells_nothing:
            return not _is_named_for(key)
        is_project = key.target == self._projects.key  # rows for all projects are usual there
        return (
            is_project
            or not key.cascades
            or any(_is_mandatory(table, other) for other in others)
        )


def is_pointer(name: str) -> bool:
    """Whether a column of that name points to one of many, rather than places its row."""
    return _POINTER.fullmatch(snake_case(name)) is not None


def _any_way(_table: DescribedTable, _place: TablePath) -> bool:
    return True


def _is_mandatory(table: DescribedTable, key: ForeignKey) -> bool:
    return not any(table.column(name).nullable for name in key.columns)


def _is_named_for(key: ForeignKey) -> bool:
    """Whether the column has its target's name, and so no role beside belonging to it."""
    name = snake_case(key.columns[0]).removesuffix("_id")
    return f"_{singular(key.target[1])}".endswith(f"_{name}")


def _referred(
    known: Known,
    start: DescribedTable,
    is_taken: Callable[[DescribedTable, ForeignKey], bool],
) -> set[TableKey]:
    """The tables that a table refers to, directly or not."""
    found: set[TableKey] = set()
    todo = [start]
    while todo:
        table = todo.pop()
        new = (
            {
                key.target
                for key in table.foreign_keys
                if key.target in known and is_taken(table, key)
            }
            - found
            - {start.key}
        )
        found |= new
        todo += [known[key] for key in new]
    return found


def _nearest(ways: Iterable[tuple[TablePath, ForeignKey]]) -> TablePath:
    def rank(way: tuple[TablePath, ForeignKey]) -> tuple[int, int, tuple[str, ...]]:
        place, key = way
        return len(place.steps), len(place.nullable), key.columns

    (place, taken), *others = sorted(ways, key=rank)
    return TablePath(
        place.column,
        place.steps,
        place.nullable,
        place.doubtful,
        tuple(key for _, key in others if key.columns != taken.columns),
    )

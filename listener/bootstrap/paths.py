"""Finds the path of each table to the projects along foreign keys."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from listener.bootstrap.catalog import DescribedTable, ForeignKey, TableKey
from listener.bootstrap.naming import singular, snake_case

Known: TypeAlias = Mapping[TableKey, DescribedTable]

# A nullable column with such a name selects one of many; the row does not belong to its target.
_POINTER: Final = re.compile(
    r"(current|default|active|last|latest|selected|home|primary|main|favou?rite|recent"
    r"|preferred|pinned|featured)_\w+"
)


@dataclass(frozen=True, slots=True)
class TablePath:
    """How to find a row's project.

    It is in ``column``: of the row itself, or of the last parent along the foreign keys in
    ``steps``. ``nullable`` lists the columns on the path that may be NULL, ``uncertain`` those
    of them that are probably NULL in ordinary rows, ``others`` equally short paths.
    """

    column: str
    steps: tuple[ForeignKey, ...] = ()
    nullable: tuple[str, ...] = ()
    uncertain: tuple[str, ...] = ()
    others: tuple[ForeignKey, ...] = ()


@dataclass(frozen=True, slots=True)
class Paths:
    """The paths to the projects.

    ``certain``: of tables whose ordinary rows have one project, the nearest first.
    ``uncertain``: of tables whose ordinary rows may have none, or that projects refer to.
    ``parents``: tables without a certain path that projects refer to, directly or not.
    """

    certain: Mapping[TableKey, TablePath]
    uncertain: Mapping[TableKey, TablePath]
    parents: frozenset[TableKey]


def find_paths(known: Known, projects: DescribedTable, users: DescribedTable | None) -> Paths:
    """Find the shortest path of each table to the projects.

    No path leads through the users, whose rows belong to no single project, nor through a
    parent of the projects, whose rows belong to many.
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
        # Some frameworks make every reference nullable by default.
        self._tells_nothing = not any(
            _is_mandatory(table, key) and not set(key.columns) <= set(table.primary_key)
            for table in known.values()
            for key in table.foreign_keys
        )
        self._below: set[TableKey] = set()
        self._below = set(self._spread(self._start, self._users | self._parents, _any_path))

    def find(self) -> Paths:
        certain = self._spread(self._start, self._users, self._is_certain)
        ends = self._users | (self._parents - set(certain))
        every = self._spread(certain, ends, _any_path)
        uncertain = {key: path for key, path in every.items() if key not in certain}
        return Paths(certain, uncertain, frozenset(self._parents - set(certain)))

    def _spread(
        self,
        start: Mapping[TableKey, TablePath],
        ends: set[TableKey],
        is_allowed: Callable[[DescribedTable, TablePath], bool],
    ) -> dict[TableKey, TablePath]:
        """Search from the start in breadth. No path leads through the tables in *ends*."""
        certain = dict(start)
        level = dict(start)
        while level:
            targets = {key for key in level if key not in ends}
            found = {}
            for table in self._known.values():
                candidates = [
                    (path, key)
                    for key in table.foreign_keys
                    if key.target in targets and table.key not in certain
                    for path in [self._step(table, key, certain[key.target])]
                    if is_allowed(table, path)
                ]
                if candidates:
                    found[table.key] = _nearest(candidates)
            level = found
            certain |= level
        return certain

    def _step(self, table: DescribedTable, key: ForeignKey, parent: TablePath) -> TablePath:
        """Return the path of a row by the foreign key, given its parent's path."""
        own = key.source_of(parent.column)
        is_direct = not parent.steps and own is not None
        names = (own,) if is_direct and own is not None else key.columns
        nullable = tuple(
            f"{table.name}.{name}" for name in names if table.column(name).nullable
        )
        uncertain = nullable if nullable and self._is_uncertain(table, key) else ()
        if is_direct and own is not None:
            return TablePath(own, (), nullable, uncertain)
        return TablePath(
            parent.column,
            (key, *parent.steps),
            (*nullable, *parent.nullable),
            (*uncertain, *parent.uncertain),
        )

    def _is_certain(self, table: DescribedTable, path: TablePath) -> bool:
        """Whether ordinary rows have exactly one project by this path."""
        if table.key in self._mandatory:
            return False
        if path.steps:
            belongs = not path.nullable
            return belongs if table.key in self._parents | self._users else not path.uncertain
        is_named = snake_case(path.column) == f"{singular(self._projects.name)}_id"
        if table.key in self._parents and path.nullable and not is_named:
            return False
        return not (path.nullable and is_pointer(path.column))

    def _is_uncertain(self, table: DescribedTable, key: ForeignKey) -> bool:
        """Whether this nullable reference is probably NULL in ordinary rows."""
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
        is_project = (
            key.target == self._projects.key
        )  # a NULL there often means: for all projects
        return (
            is_project
            or not key.cascades
            or any(_is_mandatory(table, other) for other in others)
        )


def is_pointer(name: str) -> bool:
    """Whether a column with that name selects one of many, and its row belongs to none."""
    return _POINTER.fullmatch(snake_case(name)) is not None


def _any_path(_table: DescribedTable, _place: TablePath) -> bool:
    return True


def _is_mandatory(table: DescribedTable, key: ForeignKey) -> bool:
    return not any(table.column(name).nullable for name in key.columns)


def _is_named_for(key: ForeignKey) -> bool:
    """Whether the column is named after its target, so that it has no other role."""
    name = snake_case(key.columns[0]).removesuffix("_id")
    return f"_{singular(key.target[1])}".endswith(f"_{name}")


def _referred(
    known: Known,
    start: DescribedTable,
    is_taken: Callable[[DescribedTable, ForeignKey], bool],
) -> set[TableKey]:
    """Return the tables that a table refers to, directly or not."""
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


def _nearest(candidates: Iterable[tuple[TablePath, ForeignKey]]) -> TablePath:
    def rank(candidate: tuple[TablePath, ForeignKey]) -> tuple[int, int, tuple[str, ...]]:
        path, key = candidate
        return len(path.steps), len(path.nullable), key.columns

    (path, taken), *others = sorted(candidates, key=rank)
    return TablePath(
        path.column,
        path.steps,
        path.nullable,
        path.uncertain,
        tuple(key for _, key in others if key.columns != taken.columns),
    )

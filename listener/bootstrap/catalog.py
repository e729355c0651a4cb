"""Tables as the database's catalog describes them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from listener.bootstrap.naming import identifier, snake_case
from listener.capture.id_columns import id_type_of
from shared.protocol.channels import IdType

TableKey: TypeAlias = tuple[str, str]  # schema and name


@dataclass(frozen=True, slots=True)
class Column:
    """A column.

    Its type as ``format_type`` writes it, without a length; a domain's is that below it.
    """

    name: str
    type: str
    nullable: bool = False

    @property
    def id_type(self) -> IdType:
        """How ids in it are spelled."""
        return id_type_of(self.type) or "text"


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """Columns that hold what the target's columns hold, pairwise.

    A row whose target is deleted goes with it (``cascades``), or stays without it
    (``sets_null``), or keeps it from being deleted.
    """

    columns: tuple[str, ...]
    target: TableKey
    target_columns: tuple[str, ...]
    cascades: bool = False
    sets_null: bool = False

    def source_of(self, target_column: str) -> str | None:
        """The column that holds the target's."""
        return dict(zip(self.target_columns, self.columns, strict=True)).get(target_column)


@dataclass(frozen=True, slots=True)
class DescribedTable:
    """A table as the catalog describes it.

    ``unique``: the columns of each primary key, unique constraint or whole unique index.
    ``visible``: its name alone finds it.
    """

    schema: str
    name: str
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...] = ()
    unique: tuple[tuple[str, ...], ...] = ()
    foreign_keys: tuple[ForeignKey, ...] = ()
    visible: bool = True

    @property
    def key(self) -> TableKey:
        return (self.schema, self.name)

    @property
    def sql(self) -> str:
        """Its name where the ``search_path`` is empty."""
        return f"{identifier(self.schema)}.{identifier(self.name)}"

    @property
    def short(self) -> str:
        """Its name in ``invalidation.toml``."""
        in_public = self.schema == "public" and self.visible
        return identifier(self.name) if in_public else self.sql

    @property
    def row_key(self) -> tuple[str, ...]:
        """What tells its rows apart: its primary key, or a unique key without NULLs."""
        for names in self.unique:
            if not any(self.column(name).nullable for name in names):
                return names
        return ()

    def column(self, name: str) -> Column:
        return next(column for column in self.columns if column.name == name)

    def named(self, wanted: Iterable[str]) -> str | None:
        """The column whose name in snake case is the first of the wanted that there is."""
        known = {snake_case(column.name): column.name for column in self.columns}
        return next((known[name] for name in wanted if name in known), None)

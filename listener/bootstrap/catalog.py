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

    Its type is spelled as by ``format_type``, without a length; a domain has its base type.
    """

    name: str
    type: str
    nullable: bool = False

    @property
    def id_type(self) -> IdType:
        """The type of the ids in it."""
        return id_type_of(self.type) or "text"


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """A foreign key: its columns, paired with the target's.

    ``cascades``, ``sets_null``: what ON DELETE does to its rows; neither is an error.
    """

    columns: tuple[str, ...]
    target: TableKey
    target_columns: tuple[str, ...]
    cascades: bool = False
    sets_null: bool = False

    def source_of(self, target_column: str) -> str | None:
        """Return the column that refers to the target's column."""
        return dict(zip(self.target_columns, self.columns, strict=True)).get(target_column)


@dataclass(frozen=True, slots=True)
class DescribedTable:
    """A table as the catalog describes it.

    ``unique``: the columns of each primary key, unique constraint or whole unique index.
    ``visible``: the ``search_path`` finds it without its schema.
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
        """Its name with its schema, which does not depend on the ``search_path``."""
        return f"{identifier(self.schema)}.{identifier(self.name)}"

    @property
    def short(self) -> str:
        """Its name in ``invalidation.toml``."""
        in_public = self.schema == "public" and self.visible
        return identifier(self.name) if in_public else self.sql

    @property
    def row_key(self) -> tuple[str, ...]:
        """Its primary key, or else a unique key without NULLs; empty if there is none."""
        for names in self.unique:
            if not any(self.column(name).nullable for name in names):
                return names
        return ()

    def column(self, name: str) -> Column:
        return next(column for column in self.columns if column.name == name)

    def named(self, wanted: Iterable[str]) -> str | None:
        """Return the column whose snake-case name comes first in *wanted*, if there is one."""
        known = {snake_case(column.name): column.name for column in self.columns}
        return next((known[name] for name in wanted if name in known), None)

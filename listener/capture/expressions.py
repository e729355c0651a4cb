"""Columns and expressions over a row of a watched table, as SQL."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from shared.protocol.channels import MAX_ID_BYTES

_QUALIFIED: Final = re.compile(r"\bchanged\s*\.\s*(?!\*)", re.IGNORECASE)
_CONSTANT: Final = re.compile(r"'(?:[^']|'')*'")
_WORD: Final = re.compile(r'"((?:[^"]|"")+)"|([A-Za-z_\u0080-\uffff][\w$\u0080-\uffff]*)')


@dataclass(frozen=True, slots=True)
class Table:
    """A watched table as the database describes it.

    ``in_tree``: it is partitioned, a partition, or has or is an inheritance child, so its rows
    may come and go by other tables of the tree.
    ``loose`` columns have a type without equality (json), one that calls values equal which are
    not written alike (numeric, citext), or that is written as a session likes it (timestamptz).
    ``unbounded`` columns have a type of variable length. ``types`` are those of the columns, as
    in SQL. ``own`` expressions are known to read nothing but the row: a NULL that they give
    stands in it.
    """

    schema: str
    name: str
    columns: tuple[str, ...]
    in_tree: bool = False
    loose: frozenset[str] = frozenset()
    unbounded: frozenset[str] = frozenset()
    types: tuple[str, ...] = ()
    own: frozenset[str] = frozenset()

    @property
    def sql(self) -> str:
        return f"{quote_identifier(self.schema)}.{quote_identifier(self.name)}"


def quote_identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def quote_literal(text: str) -> str:
    """A string constant that reads the same whatever ``standard_conforming_strings`` says."""
    quoted = text.replace("'", "''")
    return f"'{quoted}'" if "\\" not in text else "E'" + quoted.replace("\\", "\\\\") + "'"


def differ(columns: Sequence[str], table: Table) -> str:
    """A condition on OLD and NEW: one of the columns changed."""
    conditions = []
    for column in columns:
        cast = '::text collate "C"' if column in table.loose else ""
        name = quote_identifier(column) + cast
        conditions.append(f"old.{name} is distinct from new.{name}")
    return " or ".join(conditions)


def columns_in(expression: str, table: Table) -> set[str]:
    """The table's columns that an expression may mention.

    Its words that are names of columns.
    """
    words = _words(_QUALIFIED.sub("", expression))
    if words & {table.name, "changed"}:
        return set(table.columns)  # a whole-row reference mentions them all
    return words & set(table.columns)


def _words(expression: str) -> set[str]:
    """All that may be a name in it; a quote within a string constant hides none."""
    return {
        quoted.replace('""', '"') if quoted else _fold(plain)
        for text in (expression, _CONSTANT.sub(" ", expression))
        for quoted, plain in _WORD.findall(text)
    }


def _fold(name: str) -> str:
    """As PostgreSQL folds a name without quotes in UTF-8: ASCII alone."""
    return re.sub("[A-Z]+", lambda found: found[0].lower(), name)


def expression_sql(text: str, table: Table) -> str:
    """A column or an expression over the row, as SQL that yields text.

    Its collation tells apart all that is written differently. A value that is too long for an
    id is cut to one that still is too long, so that no row of the log is large.
    """
    column = plain_column(text, table)
    value = f"{quote_identifier(column) if column else f'({text})'}::text"
    if column is None or column in table.unbounded:
        value = f"left({value}, {MAX_ID_BYTES + 1})"
    return f'{value} collate "C"'


def is_own(text: str, table: Table) -> bool:
    """Whether the text is known to read nothing but the row."""
    return plain_column(text, table) is not None or text in table.own


def plain_column(text: str, table: Table) -> str | None:
    """The column that the text names, if it is nothing but that."""
    found = _WORD.fullmatch(text.strip())
    if not found:
        return None
    quoted, plain = found.groups()
    name = quoted.replace('""', '"') if quoted else _fold(plain)
    return name if name in table.columns else None

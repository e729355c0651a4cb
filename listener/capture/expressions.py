"""Columns and expressions over a row of a watched table, as SQL."""

import re
from collections.abc import Callable, Sequence
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
    may change through other tables of the tree.
    ``loose`` columns have a type without equality (json), with values that are equal and
    written differently (numeric, citext), or whose text depends on the session (timestamptz).
    ``unbounded`` columns have a type of variable length. ``types`` are those of the columns, as
    in SQL. ``row_only`` expressions are known to read nothing but the row, so that a NULL of
    theirs is a property of the row.
    """

    schema: str
    name: str
    columns: tuple[str, ...]
    in_tree: bool = False
    loose: frozenset[str] = frozenset()
    unbounded: frozenset[str] = frozenset()
    types: tuple[str, ...] = ()
    row_only: frozenset[str] = frozenset()

    @property
    def sql(self) -> str:
        return f"{quote_identifier(self.schema)}.{quote_identifier(self.name)}"


def quote_identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def quote_literal(text: str) -> str:
    """Return a string constant that does not depend on ``standard_conforming_strings``."""
    quoted = text.replace("'", "''")
    return f"'{quoted}'" if "\\" not in text else "E'" + quoted.replace("\\", "\\\\") + "'"


def differ(columns: Sequence[str], table: Table) -> str:
    """Return a condition on OLD and NEW that holds if one of the columns changed."""
    conditions = []
    for column in columns:
        cast = '::text collate "C"' if column in table.loose else ""
        name = quote_identifier(column) + cast
        conditions.append(f"old.{name} is distinct from new.{name}")
    return " or ".join(conditions)


def unlike(image: Callable[[str], str]) -> str:
    """Return a source of the rows of both transition tables whose image the other lacks.

    Images are the text of jsonb: every type has that, and not every type has an equality that
    distinguishes all values that are written differently.
    """
    parts = (
        f"select * from {here} as here where not exists (select from {there} as there"
        f" where {image('there')} = {image('here')})"
        for here, there in (("before", "changed"), ("changed", "before"))
    )
    return f"({' union all '.join(parts)}) as changed"


def columns_in(expression: str, table: Table) -> set[str]:
    """Return the table's columns that an expression may mention: its words that name one."""
    words = _words(_QUALIFIED.sub("", expression))
    if words & {table.name, "changed"}:
        return set(table.columns)  # a whole-row reference mentions them all
    return words & set(table.columns)


def _words(expression: str) -> set[str]:
    """Return all words that may be names, also those after a quote in a string constant."""
    return {
        quoted.replace('""', '"') if quoted else _fold(plain)
        for text in (expression, _CONSTANT.sub(" ", expression))
        for quoted, plain in _WORD.findall(text)
    }


def _fold(name: str) -> str:
    """Fold a name without quotes as PostgreSQL does in UTF-8: only ASCII letters."""
    return re.sub("[A-Z]+", lambda found: found[0].lower(), name)


def expression_sql(text: str, table: Table) -> str:
    """Return SQL for a column or an expression over the row, as text.

    Its collation distinguishes all texts that are written differently. A value that is too long
    for an id is cut to one that still is too long, so that no row of the change log is large.
    """
    column = plain_column(text, table)
    value = f"{quote_identifier(column) if column else f'({text})'}::text"
    if column is None or column in table.unbounded:
        value = f"left({value}, {MAX_ID_BYTES + 1})"
    return f'{value} collate "C"'


def reads_row_only(text: str, table: Table) -> bool:
    """Whether a column or expression is known to read nothing but the row."""
    return plain_column(text, table) is not None or text in table.row_only


def plain_column(text: str, table: Table) -> str | None:
    """Return the column that the text names, if it is nothing but a column's name."""
    found = _WORD.fullmatch(text.strip())
    if not found:
        return None
    quoted, plain = found.groups()
    name = quoted.replace('""', '"') if quoted else _fold(plain)
    return name if name in table.columns else None

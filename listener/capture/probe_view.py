"""A temporary view of expressions over a watched row, to read what they depend on."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import asyncpg

from listener.capture.expressions import Table, expression_sql, quote_identifier
from listener.links.pg_link import Connection, using_search_path
from shared.links.search_path import SEARCH_PATH

_SQL: Final = Path(__file__).parent / "sql"
_DEPENDENCIES: Final = (_SQL / "dependencies.sql").read_text()


def dependency_query(name: str) -> str:
    """Read a query of what a view depends on: the file continues ``dependencies.sql``."""
    return _DEPENDENCIES + (_SQL / name).read_text()


PROBE_VIEW: Final = "pg_temp.neverstale_probe"
LOOKED_UP_SQL: Final = dependency_query("looked_up.sql")
# Catalog objects other than types: tables, and user-defined functions and operators, which may
# read tables.
_READS_MORE: Final = """\
select exists (select from pg_rewrite r
                 join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid
                where r.ev_class = $1::regclass and d.refobjid <> r.ev_class
                  and d.refclassid = any ('{pg_class,pg_proc,pg_operator}'::regclass[]))"""
# Errors that do not mean that the probed expression is wrong.
UNRELATED_ERRORS: Final = (asyncpg.LockNotAvailableError, asyncpg.InsufficientResourcesError)


@asynccontextmanager
async def probe_view(
    connection: Connection, expressions: Iterable[str], source: str, path: str = SEARCH_PATH
) -> AsyncIterator[None]:
    """Create the view ``PROBE_VIEW`` of these expressions for the length of the block.

    Their names are looked up by *path*. PostgreSQL parses the view and records what it depends
    on, but does not plan it: planning runs code that the owner of a table has put into its
    indexes, as the role that installs.
    """
    columns = ", ".join(f"{one} as e{number}" for number, one in enumerate(expressions))
    async with using_search_path(connection, path):
        await connection.execute(
            f"create temporary view neverstale_probe as select {columns}"  # noqa: S608 names are quoted
            f" from {source} as changed"
        )
        yield


async def looked_up(connection: Connection, text: str, table: Table) -> set[Table]:
    """Return the tables that an expression over the table's rows reads, through views too."""
    rows = await fetch_look_ups(connection, [text], table, LOOKED_UP_SQL)
    return {Table(row["schema"], row["name"], ()) for row in rows if row["is_table"]}


async def fetch_look_ups(
    connection: Connection, texts: Iterable[str], table: Table, query: str, *values: object
) -> "list[asyncpg.Record]":
    """Run the query on a view that depends only on what the expressions look up."""
    expressions = [expression_sql(text, table) for text in texts]
    try:
        async with probe_view(connection, expressions, _row_of_nulls(table)):
            return await connection.fetch(query, PROBE_VIEW, *values)
    except UNRELATED_ERRORS:
        raise
    except asyncpg.PostgresError:  # it uses the row as a whole: the table counts as looked up
        async with probe_view(connection, expressions, table.sql):
            return await connection.fetch(query, PROBE_VIEW, *values)


async def depends_on_row_only(connection: Connection, text: str, table: Table) -> bool:
    """Whether an expression reads nothing but the row, as far as the catalog shows it."""
    try:
        async with probe_view(connection, [expression_sql(text, table)], _row_of_nulls(table)):
            return not await connection.fetchval(_READS_MORE, PROBE_VIEW)
    except UNRELATED_ERRORS:
        raise
    except asyncpg.PostgresError:  # it uses the row as a whole
        return False


def _row_of_nulls(table: Table) -> str:
    """Return a source that has the table's columns, but depends on their types alone."""
    columns = zip(table.columns, table.types, strict=True)
    nulls = ", ".join(f"null::{kind} as {quote_identifier(name)}" for name, kind in columns)
    return f"(select {nulls})"

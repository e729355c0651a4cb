"""Reads watched tables from the catalog, and what the expressions over their rows look up."""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, TypeAlias

import asyncpg

from listener.core.triggers import (
    SEARCH_PATH,
    Table,
    columns_in,
    expression_sql,
    quote_identifier,
)
from listener.core.watches import Watch
from listener.pg_link import Connection, finding_names
from shared.core.access_rules import ConfigError

Watched: TypeAlias = tuple[Watch, list[Table]]

_SQL: Final = Path(__file__).parent / "sql"
_DESCRIBE: Final = (_SQL / "describe.sql").read_text()
_FIND: Final = "select pg_catalog.to_regclass($1)::pg_catalog.oid"
_LOOKED_UP: Final = (_SQL / "looked_up.sql").read_text()
PROBE: Final = "pg_temp.neverstale_probe"
# what an expression that is probed has not caused
_NOT_ITS_FAULT: Final = (asyncpg.LockNotAvailableError, asyncpg.InsufficientResourcesError)


async def describe_watches(connection: Connection, watches: Sequence[Watch]) -> list[Watched]:
    """Each watch with its table and all below it in its tree. Inside a transaction.

    Raises:
        ConfigError: there is no such table, or a watch does not fit its own.
    """
    problems: list[str] = []
    described: list[Watched] = []
    watched_by: dict[str, Watch] = {}
    for watch in watches:
        where = f"watch ({watch.table})"
        try:
            tables = await describe_tree(connection, watch)
        except ConfigError as exc:
            problems += [f"{where} {problem}" for problem in exc.problems]
            continue
        for table in tables:
            if table.sql in watched_by:
                problems.append(
                    f"{where} table: {table.sql} is watched by "
                    f"({watched_by[table.sql].table}) already: leave one out"
                )
            watched_by[table.sql] = watch
        described.append((watch, tables))
    if problems:
        raise ConfigError(problems)
    return described


async def looked_up(connection: Connection, text: str, table: Table) -> set[Table]:
    """The tables that an expression over the table's rows reads, through views too."""
    expressions = [expression_sql(text, table)]
    try:
        async with probing(connection, expressions, _row_of_nulls(table)):
            rows = await connection.fetch(_LOOKED_UP, PROBE)
    except _NOT_ITS_FAULT:
        raise
    except asyncpg.PostgresError:  # it wants the row as a whole: the table counts as looked up
        async with probing(connection, expressions, table.sql):
            rows = await connection.fetch(_LOOKED_UP, PROBE)
    return {Table(row["schema"], row["name"], ()) for row in rows if row["is_table"]}


def _row_of_nulls(table: Table) -> str:
    """A source with the table's columns that depends on their types alone."""
    columns = zip(table.columns, table.types, strict=True)
    nulls = ", ".join(f"null::{kind} as {quote_identifier(name)}" for name, kind in columns)
    return f"(select {nulls})"


@asynccontextmanager
async def probing(
    connection: Connection, expressions: Iterable[str], source: str
) -> AsyncIterator[None]:
    """Inside, the view ``PROBE`` is of these expressions; it does not outlast the block.

    PostgreSQL parses it and records what it depends on, but does not plan it: planning runs
    what the owner of a table has put into its indexes, as the role that installs.
    """
    columns = ", ".join(f"{one} as e{number}" for number, one in enumerate(expressions))
    async with finding_names(connection, SEARCH_PATH):
        await connection.execute(
            f"create temporary view neverstale_probe as select {columns}"  # noqa: S608 names are quoted
            f" from {source} as changed"
        )
        yield


async def describe_tree(connection: Connection, watch: Watch) -> list[Table]:
    """The watched table and all below it in its tree.

    Raises:
        ConfigError: there is no such table, or the watch does not fit it.
    """
    try:
        async with finding_names(connection, "default"):
            oid = await connection.fetchval(_FIND, watch.table)
    except (
        asyncpg.PostgresSyntaxError,
        asyncpg.InvalidNameError,
        asyncpg.FeatureNotSupportedError,  # another database's
    ):
        oid = None
    rows = await connection.fetch(_DESCRIBE, oid)
    if not rows:
        raise ConfigError(["table: there is no such table: write it as schema.table"])
    if rows[0]["relkind"] not in ("r", "p"):
        raise ConfigError(["table: it is no table (a view?): watch the tables below it"])
    if any(row["relkind"] == "f" for row in rows):
        raise ConfigError(
            [
                "table: a partition is a foreign table, where PostgreSQL allows no such "
                "triggers: watch the other partitions one by one"
            ]
        )
    named = Table(rows[0]["schema"], rows[0]["name"], tuple(rows[0]["columns"]))
    problems = [
        f"{key}: {text!r} is no column or expression over the row ({problem})"
        for key, text in watch.expressions.items()
        if (problem := await _problem_of(connection, text, named))
    ]
    placing = {name for text in watch.expressions.values() for name in columns_in(text, named)}
    problems += [
        f"{name} is a virtual column, which no trigger can read: write its expression instead"
        for name in rows[0]["virtual"]
        if name in placing
    ]
    for column in watch.ignore:
        if column not in named.columns:
            problems.append(f"ignore: there is no column {column}: leave it out")
        elif column in placing:
            problems.append(f"ignore: {column} says whose the row is: leave it out")
    if problems:
        raise ConfigError(problems)
    return [
        Table(
            row["schema"],
            row["name"],
            tuple(row["columns"]),
            types=tuple(row["types"]),
            in_tree=row["in_tree"],
            loose=frozenset(row["loose"]),
            root=named.name,
            unbounded=frozenset(row["unbounded"]),
        )
        for row in rows
        if row["relkind"] in ("r", "p")
    ]


async def _problem_of(connection: Connection, text: str, table: Table) -> str | None:
    """Why the triggers could not evaluate the expression; or None."""
    try:
        async with probing(connection, [expression_sql(text, table)], table.sql):
            rows = await connection.fetch(_LOOKED_UP, PROBE)
    except _NOT_ITS_FAULT:
        raise
    except asyncpg.PostgresError as exc:
        return str(exc)
    for row in rows:
        is_own = (row["schema"], row["name"]) == (table.schema, table.name)
        if row["is_named"] and not row["is_allowed"] and not is_own:
            return f"permission denied for {row['kind']} {row['name']}"
    return None

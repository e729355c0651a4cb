"""Reads watched tables from the catalog, and what the expressions over their rows look up."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, TypeAlias

import asyncpg

from listener.capture.expressions import (
    Table,
    columns_in,
    expression_sql,
    plain_column,
    quote_identifier,
)
from listener.capture.id_columns import ValueType, describe_misfit
from listener.capture.logged_rows import Parent
from listener.capture.watches import Watch
from listener.links.pg_link import Connection, finding_names
from shared.config.access_rules import AccessRules, ConfigError
from shared.links.search_path import SEARCH_PATH
from shared.protocol.channels import IdType

Watched: TypeAlias = tuple[Watch, list[Table]]

_SQL: Final = Path(__file__).parent / "sql"
_DESCRIBE: Final = (_SQL / "describe.sql").read_text()
_FIND: Final = "select pg_catalog.to_regclass($1)::pg_catalog.oid"
_LOOKED_UP: Final = (_SQL / "looked_up.sql").read_text()
_PARENTS: Final = (_SQL / "parents.sql").read_text()
_VALUE_TYPE: Final = (_SQL / "value_type.sql").read_text()
# Neither tables nor functions and operators that somebody made, which may read tables.
_READS_MORE: Final = """\
select exists (select from pg_rewrite r
                 join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid
                where r.ev_class = $1::regclass and d.refobjid <> r.ev_class
                  and d.refclassid = any ('{pg_class,pg_proc,pg_operator}'::regclass[]))"""
PROBE: Final = "pg_temp.neverstale_probe"
# what an expression that is probed has not caused
_NOT_ITS_FAULT: Final = (asyncpg.LockNotAvailableError, asyncpg.InsufficientResourcesError)


async def describe_watches(
    connection: Connection, watches: Sequence[Watch], rules: AccessRules
) -> list[Watched]:
    """Each watch with its table and all below it in its tree. Inside a transaction.

    Raises:
        ConfigError: there is no such table, or a watch does not fit its own, or the ids that
            it is routed by are not of the rules' types.
    """
    id_types: Mapping[str, IdType] = {"project": rules.project_type, "user": rules.user_type}
    problems: list[str] = []
    described: list[Watched] = []
    watched_by: dict[str, Watch] = {}
    for watch in watches:
        where = f"watch ({watch.table})"
        try:
            tables = await describe_tree(connection, watch, id_types)
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
    rows = await fetch_of_look_ups(connection, [text], table, _LOOKED_UP)
    return {Table(row["schema"], row["name"], ()) for row in rows if row["is_table"]}


async def fetch_of_look_ups(
    connection: Connection, texts: Iterable[str], table: Table, query: str, *values: object
) -> "list[asyncpg.Record]":
    """What the query tells of a view of nothing but what these expressions look up."""
    expressions = [expression_sql(text, table) for text in texts]
    try:
        async with probing(connection, expressions, _row_of_nulls(table)):
            return await connection.fetch(query, PROBE, *values)
    except _NOT_ITS_FAULT:
        raise
    except asyncpg.PostgresError:  # it wants the row as a whole: the table counts as looked up
        async with probing(connection, expressions, table.sql):
            return await connection.fetch(query, PROBE, *values)


async def find_parents(
    connection: Connection, watch: Watch, tables: Sequence[Table]
) -> dict[str, Parent]:
    """The tables in which rows of the watch look up their project, by their names in SQL."""
    if watch.project is None or plain_column(watch.project, tables[0]):
        return {}
    found = {table.sql for table in await looked_up(connection, watch.project, tables[0])}
    async with probing(connection, [expression_sql(watch.project, tables[0])], tables[0].sql):
        rows = await connection.fetch(
            _PARENTS, PROBE, tables[0].sql, [table.sql for table in tables[1:]]
        )
    parents = {
        Table(row["schema"], row["name"], ()).sql: Parent(
            frozenset(row["columns"]), row["is_bound"]
        )
        for row in rows
    }
    return {name: parent for name, parent in parents.items() if name in found}


def _row_of_nulls(table: Table) -> str:
    """A source with the table's columns that depends on their types alone."""
    columns = zip(table.columns, table.types, strict=True)
    nulls = ", ".join(f"null::{kind} as {quote_identifier(name)}" for name, kind in columns)
    return f"(select {nulls})"


@asynccontextmanager
async def probing(
    connection: Connection, expressions: Iterable[str], source: str, path: str = SEARCH_PATH
) -> AsyncIterator[None]:
    """Inside, the view ``PROBE`` is of these expressions; it does not outlast the block, and
    neither does the *path* by which their names are found.

    PostgreSQL parses it and records what it depends on, but does not plan it: planning runs
    what the owner of a table has put into its indexes, as the role that installs.
    """
    columns = ", ".join(f"{one} as e{number}" for number, one in enumerate(expressions))
    async with finding_names(connection, path):
        await connection.execute(
            f"create temporary view neverstale_probe as select {columns}"  # noqa: S608 names are quoted
            f" from {source} as changed"
        )
        yield


async def describe_tree(
    connection: Connection, watch: Watch, id_types: Mapping[str, IdType]
) -> list[Table]:
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
    named = Table(
        rows[0]["schema"],
        rows[0]["name"],
        tuple(rows[0]["columns"]),
        types=tuple(rows[0]["types"]),
    )
    problems = [
        f"{key}: {problem}"
        for key, text in watch.expressions.items()
        if (
            problem := await _problem_of(
                connection, text, named, key=key, id_type=id_types.get(key)
            )
        )
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
    own = {
        text
        for key, text in watch.expressions.items()
        if key in id_types
        and not plain_column(text, named)
        and await _reads_row_alone(connection, text, named)
    }
    return [
        Table(
            row["schema"],
            row["name"],
            tuple(row["columns"]),
            types=tuple(row["types"]),
            in_tree=row["in_tree"],
            loose=frozenset(row["loose"]),
            unbounded=frozenset(row["unbounded"]),
            own=frozenset(own),
        )
        for row in rows
        if row["relkind"] in ("r", "p")
    ]


async def _problem_of(
    connection: Connection, text: str, table: Table, *, key: str, id_type: IdType | None
) -> str | None:
    """Why the triggers could not evaluate the expression, or not route by it; or None."""
    column = plain_column(text, table)
    value = quote_identifier(column) if column else f"({text})"
    expressions = [expression_sql(text, table), value]
    try:
        async with probing(connection, expressions[: 1 if id_type is None else 2], table.sql):
            rows = await connection.fetch(_LOOKED_UP, PROBE)
            found = await connection.fetchrow(_VALUE_TYPE, PROBE)
    except _NOT_ITS_FAULT:
        raise
    except asyncpg.IndeterminateCollationError:  # text made of texts of several collations
        return await _problem_of(connection, text, table, key=key, id_type=None)
    except asyncpg.PostgresError as exc:
        return f"{text!r} is no column or expression over the row ({exc})"
    for row in rows:
        is_own = (row["schema"], row["name"]) == (table.schema, table.name)
        if row["is_named"] and not row["is_allowed"] and not is_own:
            return (
                f"{text!r} is no column or expression over the row "
                f"(permission denied for {row['kind']} {row['name']})"
            )
    if id_type is None or found is None:
        return None
    return describe_misfit(text, ValueType(*found), key=key, id_type=id_type)


async def _reads_row_alone(connection: Connection, text: str, table: Table) -> bool:
    """Whether an expression reads nothing but the row, as far as PostgreSQL tells."""
    try:
        async with probing(connection, [expression_sql(text, table)], _row_of_nulls(table)):
            return not await connection.fetchval(_READS_MORE, PROBE)
    except _NOT_ITS_FAULT:
        raise
    except asyncpg.PostgresError:  # it wants the row as a whole
        return False

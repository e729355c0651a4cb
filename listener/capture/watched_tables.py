"""Watched tables as the catalog describes them, and the tables that their rows look up."""

from collections.abc import Mapping, Sequence
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
from listener.capture.probe_view import (
    LOOKED_UP_SQL,
    PROBE_VIEW,
    UNRELATED_ERRORS,
    dependency_query,
    depends_on_row_only,
    looked_up,
    probe_view,
)
from listener.capture.watches import Watch
from listener.links.pg_link import Connection, using_search_path
from shared.config.access_rules import AccessRules, ConfigError
from shared.protocol.channels import IdType

# A watch with its table and all tables below that one in its tree.
Watched: TypeAlias = tuple[Watch, list[Table]]
_Rows: TypeAlias = "list[asyncpg.Record]"

_SQL: Final = Path(__file__).parent / "sql"
_DESCRIBE: Final = (_SQL / "describe.sql").read_text()
_FIND: Final = "select pg_catalog.to_regclass($1)::pg_catalog.oid"
_PARENTS: Final = dependency_query("parents.sql")
_VALUE_TYPE: Final = (_SQL / "value_type.sql").read_text()


async def describe_watches(
    connection: Connection, watches: Sequence[Watch], rules: AccessRules
) -> list[Watched]:
    """Return each watch with its tables. Must run inside a transaction.

    Raises:
        ConfigError: a table does not exist, a watch does not fit its table, or its ids are not
            of the types that *rules* name.
    """
    id_types: Mapping[str, IdType] = {"project": rules.project_type, "user": rules.user_type}
    problems: list[str] = []
    described: list[Watched] = []
    watched_by: dict[str, Watch] = {}
    for watch in watches:
        where = f"watch ({watch.table})"
        try:
            tables = await _describe_tree(connection, watch, id_types)
        except ConfigError as exc:
            problems += [f"{where} {problem}" for problem in exc.problems]
            continue
        for table in tables:
            if table.sql in watched_by:
                problems.append(
                    f"{where} table: {table.sql} is watched by "
                    f"({watched_by[table.sql].table}) already: remove one of the two"
                )
            watched_by[table.sql] = watch
        described.append((watch, tables))
    if problems:
        raise ConfigError(problems)
    return described


async def find_parents(
    connection: Connection, watch: Watch, tables: Sequence[Table]
) -> dict[str, Parent]:
    """Return the tables in which the watch's rows look up their project, by name in SQL."""
    named, *below = tables
    if watch.project is None or plain_column(watch.project, named):
        return {}
    found = {table.sql for table in await looked_up(connection, watch.project, named)}
    async with probe_view(connection, [expression_sql(watch.project, named)], named.sql):
        rows = await connection.fetch(
            _PARENTS, PROBE_VIEW, named.sql, [table.sql for table in below]
        )
    parents = {
        Table(row["schema"], row["name"], ()).sql: Parent(
            frozenset(row["columns"]), row["is_bound"]
        )
        for row in rows
    }
    return {name: parent for name, parent in parents.items() if name in found}


async def _describe_tree(
    connection: Connection, watch: Watch, id_types: Mapping[str, IdType]
) -> list[Table]:
    """Return the watched table and all below it in its tree. Raises ``ConfigError``."""
    rows = await _fetch_tree(connection, watch)
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
            problem := await _find_problem(
                connection, text, named, key=key, id_type=id_types.get(key)
            )
        )
    ]
    problems += _find_column_problems(watch, named, rows[0]["virtual"])
    if problems:
        raise ConfigError(problems)
    row_only = {
        text
        for key, text in watch.expressions.items()
        if key in id_types
        and not plain_column(text, named)
        and await depends_on_row_only(connection, text, named)
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
            row_only=frozenset(row_only),
        )
        for row in rows
        if row["relkind"] in ("r", "p")
    ]


async def _fetch_tree(connection: Connection, watch: Watch) -> _Rows:
    """Read the watched table, first, and all below it. Raises ``ConfigError``."""
    try:
        async with using_search_path(connection, "default"):
            oid = await connection.fetchval(_FIND, watch.table)
    except (
        asyncpg.PostgresSyntaxError,
        asyncpg.InvalidNameError,
        asyncpg.FeatureNotSupportedError,  # a table in another database
    ):
        oid = None
    rows: _Rows = await connection.fetch(_DESCRIBE, oid)
    if not rows:
        raise ConfigError(["table: there is no such table: write it as schema.table"])
    if rows[0]["relkind"] not in ("r", "p"):
        raise ConfigError(
            ["table: it is not a table (a view?): watch the tables that it reads"]
        )
    if any(row["relkind"] == "f" for row in rows):
        raise ConfigError(
            [
                "table: a partition is a foreign table, where PostgreSQL allows no such "
                "triggers: watch the other partitions one by one"
            ]
        )
    return rows


def _find_column_problems(
    watch: Watch, table: Table, virtual_columns: Sequence[str]
) -> list[str]:
    """Return what is wrong with the columns that the watch reads and ignores."""
    routing = {name for text in watch.expressions.values() for name in columns_in(text, table)}
    problems = [
        f"{name} is a virtual column, which no trigger can read: write its expression instead"
        for name in virtual_columns
        if name in routing
    ]
    for column in watch.ignore:
        if column not in table.columns:
            problems.append(f"ignore: there is no column {column}: remove it")
        elif column in routing:
            problems.append(
                f"ignore: id, project or user of the rows depends on {column}: remove it"
            )
    return problems


async def _find_problem(
    connection: Connection, text: str, table: Table, *, key: str, id_type: IdType | None
) -> str | None:
    """Return why triggers cannot evaluate the expression or route by it, or None."""
    column = plain_column(text, table)
    value = quote_identifier(column) if column else f"({text})"
    probed = [expression_sql(text, table)]
    if id_type is not None:
        probed.append(value)
    try:
        async with probe_view(connection, probed, table.sql):
            rows = await connection.fetch(LOOKED_UP_SQL, PROBE_VIEW)
            found = await connection.fetchrow(_VALUE_TYPE, PROBE_VIEW)
    except UNRELATED_ERRORS:
        raise
    except asyncpg.IndeterminateCollationError:  # a text made of texts of several collations
        return await _find_problem(connection, text, table, key=key, id_type=None)
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

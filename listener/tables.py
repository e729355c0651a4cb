"""Reads watched tables from the catalog, and what the expressions over their rows look up."""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import asyncpg

from listener.core.triggers import SEARCH_PATH, Table, columns_in, probe_sql
from listener.core.watches import Watch
from listener.pg_link import Connection, finding_names
from shared.core.access_rules import ConfigError

Watched: TypeAlias = tuple[Watch, list[Table]]

_DESCRIBE: Final = (Path(__file__).parent / "sql" / "describe.sql").read_text()
_FIND: Final = "select pg_catalog.to_regclass($1)::pg_catalog.oid"
# of the probed table, and of what is below it
_OWN_ALIAS: Final = re.compile(r"changed(_\d+)?")


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
    async with finding_names(connection, SEARCH_PATH):
        explained = await connection.fetchval(
            "explain (verbose, format json) " + probe_sql(text, table)
        )
    return set(_relations(json.loads(explained)))


def _relations(plan: Any) -> Iterator[Table]:
    """The tables that a plan reads, wherever they are in it, but for the probed one."""
    if isinstance(plan, list):
        for part in plan:
            yield from _relations(part)
    elif isinstance(plan, dict):
        if "Relation Name" in plan and not _OWN_ALIAS.fullmatch(plan["Alias"]):
            yield Table(plan["Schema"], plan["Relation Name"], ())
        yield from _relations(list(plan.values()))


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
        if (problem := await _problem_of(connection, probe_sql(text, named)))
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
            in_tree=row["in_tree"],
            loose=frozenset(row["loose"]),
            root=named.name,
            unbounded=frozenset(row["unbounded"]),
        )
        for row in rows
        if row["relkind"] in ("r", "p")
    ]


async def _problem_of(connection: Connection, query: str) -> str | None:
    """Why the triggers could not run the query; or None."""
    try:
        async with finding_names(connection, SEARCH_PATH):
            await connection.execute(f"explain {query}")  # PREPARE asks for no rights
    except asyncpg.LockNotAvailableError:
        raise
    except asyncpg.PostgresError as exc:
        return str(exc)
    return None

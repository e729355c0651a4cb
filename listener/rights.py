"""Who owns our functions, what those run and read, and who may call them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg

from listener.core.triggers import (
    SEARCH_PATH,
    Table,
    expression_sql,
    plain_column,
    quote_identifier,
    quote_literal,
)
from listener.core.watches import Watch
from listener.pg_link import Connection, finding_names
from listener.tables import Watched, looked_up

_SQL: Final = Path(__file__).parent / "sql"
RIGHTS_SQL: Final = (_SQL / "rights.sql").read_text()
_OWNER_SQL: Final = (_SQL / "owner.sql").read_text()
_REACH: Final = (_SQL / "reach.sql").read_text()
_ROLE: Final = (_SQL / "role.sql").read_text()
_OWNER: Final = """\
select rolname::text from pg_proc join pg_roles r on r.oid = proowner
 where pronamespace = 'neverstale'::regnamespace and proname = 'notify'"""
_PROBE: Final = "pg_temp.neverstale_probe"


@dataclass(frozen=True, slots=True)
class Reach:
    """What our functions run and read.

    ``exposures``: objects whose owners can make them run code of theirs, with the rights of the
    functions' owner, and don't have those rights anyway. ``reads``: relations that expressions
    look up.
    """

    exposures: tuple[str, ...]
    reads: tuple[str, ...]


async def ensure_owner(connection: Connection, wanted: str | None) -> str:
    """The role that our functions shall belong to: *wanted*, or whose they are.

    It is created if there is none.

    Raises:
        ValueError: the role can do more than write the change log.
    """
    if wanted is None:
        owner: str = await connection.fetchval(_OWNER)
        return owner
    found = await connection.fetchrow(_ROLE, wanted)
    if found is None:
        name = quote_identifier(wanted)
        await connection.execute(f"create role {name} nologin")
        if not await connection.fetchval(
            "select rolsuper from pg_roles where rolname = current_user"
        ):
            await connection.execute(f"grant {name} to current_user")
    elif found["can_do_more"]:
        raise ValueError(
            f"this role can do more than write the change log ({found['can_do_more']}): "
            "name another, which is created if there is none"
        )
    return wanted


async def find_reach(connection: Connection, watched: Iterable[Watched], owner: str) -> Reach:
    """What functions of this owner run and read. Inside a transaction."""
    found = await connection.fetchrow(_ROLE, owner)
    is_harmless = found is not None and not found["can_do_more"]
    exposures: dict[str, None] = {}
    reads: dict[str, None] = {}
    for watch, tables in watched:
        for row in await _reached(connection, watch, tables, owner):
            if not (row["is_trusted"] or is_harmless):
                exposures[f"{row['object']} belongs to {row['owner']}"] = None
            if row["relation"]:
                reads[row["relation"]] = None
    return Reach(tuple(exposures), tuple(reads))


async def _reached(
    connection: Connection, watch: Watch, tables: Sequence[Table], owner: str
) -> "list[asyncpg.Record]":
    named = tables[0]
    expressions = [text for text in watch.expressions.values() if not plain_column(text, named)]
    is_own_parent = False
    for text in expressions:
        is_own_parent |= named.sql in {t.sql for t in await looked_up(connection, text, named)}
    columns = ", ".join(
        f"{expression_sql(text, named)} as e{number}" for number, text in enumerate(expressions)
    )
    async with finding_names(connection, SEARCH_PATH):
        await connection.execute(
            f"create temporary view neverstale_probe as"  # noqa: S608 names are quoted, expressions the operator's
            f" select {columns or '1 as e0'} from {named.sql} as changed"
        )
        return await connection.fetch(
            _REACH, _PROBE, [table.sql for table in tables], owner, is_own_parent
        )


def owner_statements(owner: str, reads: Iterable[str]) -> tuple[str, ...]:
    """SQL that gives our functions to the role, and the role what they need."""
    name = quote_identifier(owner)
    schemas = sorted({relation.partition(".")[0] for relation in reads})
    return (
        _OWNER_SQL.replace("{owner}", quote_literal(name)),
        *(f"grant usage on schema {schema} to {name};" for schema in schemas),
        *(f"grant select on {relation} to {name};" for relation in reads),
    )

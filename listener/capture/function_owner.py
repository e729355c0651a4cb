"""The owner of the trigger functions: what they run and read, and who may call them."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg

from listener.capture.expressions import (
    Table,
    expression_sql,
    plain_column,
    quote_identifier,
    quote_literal,
)
from listener.capture.probe_view import (
    PROBE_VIEW,
    dependency_query,
    fetch_look_ups,
    looked_up,
    probe_view,
)
from listener.capture.watched_tables import Watched
from listener.capture.watches import Watch
from listener.links.pg_link import Connection

_SQL: Final = Path(__file__).parent / "sql"
RIGHTS_SQL: Final = (_SQL / "rights.sql").read_text()
HIDDEN_RELATIONS_SQL: Final = dependency_query("hidden.sql")
_OWNER_SQL: Final = (_SQL / "owner.sql").read_text()
_REACH: Final = dependency_query("reach.sql")
_ROLE: Final = (_SQL / "role.sql").read_text()
# The present owner of the trigger functions; functions created just now still have another.
_OWNER: Final = """\
select coalesce((select rolname from pg_proc join pg_roles r on r.oid = proowner
                  where pronamespace = to_regnamespace('neverstale')
                    and prorettype = 'trigger'::regtype and proname <> 'wake'
                  order by rolname = current_user limit 1), current_user)::text"""
_MAX_NAMED_EXPOSURES: Final = 3


@dataclass(frozen=True, slots=True)
class Reach:
    """What the trigger functions run and read.

    ``exposures``: objects whose owners can make the functions run code of theirs, and would
    gain rights by it: those of the functions' owner or, if that role has none to gain
    (``are_mutual``), each other's. ``reads``: relations that expressions look up, each with its
    schema.
    """

    exposures: tuple[str, ...]
    reads: tuple[tuple[str, str], ...]
    are_mutual: bool = False


@dataclass(frozen=True, slots=True)
class HiddenRelation:
    """A relation that a role reads, and of which PostgreSQL would hide rows (``is_filtered``)
    or refuse to read a column.
    """

    relation: str
    role: str
    is_filtered: bool

    def __str__(self) -> str:
        role = quote_identifier(self.role)
        if self.is_filtered:
            return (
                f"row-level security of {self.relation} would hide rows from {self.role}: "
                f"alter role {role} bypassrls (a superuser may), or see "
                "docs/how-to/postgresql-roles.md; no policy is enough"
            )
        return (
            f"{self.role} may not read what is needed of {self.relation}: "
            f"grant select on {self.relation} to {role}"
        )


def describe_exposures(reach: Reach, owner: str) -> str:
    """Return who would gain which rights, and what to do."""
    named = "; ".join(reach.exposures[:_MAX_NAMED_EXPOSURES])
    if reach.are_mutual:
        return (
            f"what the trigger functions run belongs to several roles ({named}), which would "
            "gain each other's rights: give it one owner, or watch it in separate databases"
        )
    return (
        f"the trigger functions would run code of other roles with the rights of {owner} "
        f"({named}): run neverstale install --owner neverstale_writer (the role is created, "
        "and can only write the change log), or install as the owner of the tables"
    )


async def ensure_owner(connection: Connection, wanted: str | None) -> str:
    """Return the role that shall own the trigger functions: *wanted*, or their present owner.

    A role that does not exist is created.

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
            "name another role, which is created if it does not exist"
        )
    return wanted


async def find_reach(connection: Connection, watched: Iterable[Watched], owner: str) -> Reach:
    """Return what trigger functions of this owner run and read. Needs a transaction."""
    is_powerless = await _is_powerless(connection, owner)
    exposures: dict[str, None] = {}
    owners: dict[str, str] = {}
    reads: dict[tuple[str, str], None] = {}
    for watch, tables in watched:
        for row in await _fetch_reach(connection, watch, tables, owner):
            exposure = f"{row['object']} belongs to {row['owner']}"
            if not row["is_trusted"]:
                exposures[exposure] = None
            if row["is_watched"] or not row["is_trusted"]:
                owners.setdefault(row["owner"], exposure)
            if row["relation"]:
                reads[row["schema"], row["relation"]] = None
    if is_powerless and exposures:
        # One of them could alter, as the functions' owner, the functions of the others' tables.
        exposures = dict.fromkeys(owners.values() if len(owners) > 1 else ())
    return Reach(tuple(exposures), tuple(reads), are_mutual=is_powerless)


async def _is_powerless(connection: Connection, role: str) -> bool:
    """Whether the role exists and can do nothing but write the change log."""
    found = await connection.fetchrow(_ROLE, role)
    return found is not None and not found["can_do_more"]


async def _fetch_reach(
    connection: Connection, watch: Watch, tables: Sequence[Table], owner: str
) -> "list[asyncpg.Record]":
    named = tables[0]
    expressions = [text for text in watch.expressions.values() if not plain_column(text, named)]
    looks_up_itself = False
    for text in expressions:
        looks_up_itself |= named.sql in {
            t.sql for t in await looked_up(connection, text, named)
        }
    columns = [expression_sql(text, named) for text in expressions]
    async with probe_view(connection, columns or ["1"], named.sql):
        return await connection.fetch(
            _REACH, PROBE_VIEW, [table.sql for table in tables], owner, looks_up_itself
        )


async def find_hidden(
    connection: Connection, watched: Iterable[Watched], owner: str
) -> list[HiddenRelation]:
    """Return what expressions look up and functions of this owner could not read in full.

    Needs a transaction.
    """
    found: dict[HiddenRelation, None] = {}
    for watch, (table, *_) in watched:
        texts = [text for text in watch.expressions.values() if not plain_column(text, table)]
        if texts:
            rows = await fetch_look_ups(connection, texts, table, HIDDEN_RELATIONS_SQL, [owner])
            found |= dict.fromkeys(HiddenRelation(*row) for row in rows)
    return list(found)


async def ensure_visibility(
    connection: Connection, watched: Sequence[Watched], owner: str
) -> list[HiddenRelation]:
    """Give the owner BYPASSRLS if it needs that, and return what it still could not read.

    Only a role that can do nothing else gets it, and only if the installing role may give it.
    """
    hidden = await find_hidden(connection, watched, owner)
    is_filtered = any(one.is_filtered and one.role == owner for one in hidden)
    if is_filtered and await _is_powerless(connection, owner):
        with suppress(asyncpg.InsufficientPrivilegeError):
            async with connection.transaction():
                await connection.execute(f"alter role {quote_identifier(owner)} bypassrls")
        hidden = await find_hidden(connection, watched, owner)
    return hidden


def owner_statements(owner: str, reads: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """Return the SQL that gives the trigger functions to the role, and the role its rights."""
    name = quote_identifier(owner)
    schemas = sorted({schema for schema, _ in reads})
    return (
        f"set local neverstale.function_owner = {quote_literal(name)};",
        _OWNER_SQL,
        *(f"grant usage on schema {schema} to {name};" for schema in schemas),
        *(f"grant select on {relation} to {name};" for _, relation in reads),
    )

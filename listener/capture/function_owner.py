"""Who owns our functions, what those run and read, and who may call them."""

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
from listener.capture.watched_tables import (
    PROBE,
    Watched,
    fetch_of_look_ups,
    looked_up,
    probing,
)
from listener.capture.watches import Watch
from listener.links.pg_link import Connection

_SQL: Final = Path(__file__).parent / "sql"
RIGHTS_SQL: Final = (_SQL / "rights.sql").read_text()
_OWNER_SQL: Final = (_SQL / "owner.sql").read_text()
_REACH: Final = (_SQL / "reach.sql").read_text()
_ROLE: Final = (_SQL / "role.sql").read_text()
HIDDEN_SQL: Final = (_SQL / "hidden.sql").read_text()
# of the functions that others' code runs in; new ones still are whose they were made by
_OWNER: Final = """\
select coalesce((select rolname from pg_proc join pg_roles r on r.oid = proowner
                  where pronamespace = to_regnamespace('neverstale')
                    and prorettype = 'trigger'::regtype and proname <> 'wake'
                  order by rolname = current_user limit 1), current_user)::text"""
_MOST_TOLD: Final = 3


@dataclass(frozen=True, slots=True)
class Reach:
    """What our functions run and read.

    ``exposures``: objects whose owners can make them run code of theirs, and would gain rights
    by it. ``has_several``: not those of the functions' owner, who has none, but each other's.
    ``reads``: relations that expressions look up, each with its schema.
    """

    exposures: tuple[str, ...]
    reads: tuple[tuple[str, str], ...]
    has_several: bool = False


@dataclass(frozen=True, slots=True)
class Hidden:
    """A relation of which a role would see some rows only (``is_filtered``), or may not read
    what is needed.
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
    """Who would gain what, and what to do."""
    told = "; ".join(reach.exposures[:_MOST_TOLD])
    if reach.has_several:
        return (
            f"what runs in our functions belongs to several roles ({told}), who would gain "
            "each other's rights: give it one owner, or watch it in databases of their own"
        )
    return (
        f"our functions would run code of other roles with the rights of {owner} ({told}): run "
        "python -m listener install --owner neverstale_writer (the role is created, and can do "
        "nothing but write the change log), or install as the owner of the tables"
    )


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
    owners: dict[str, str] = {}
    reads: dict[tuple[str, str], None] = {}
    for watch, tables in watched:
        for row in await _reached(connection, watch, tables, owner):
            told = f"{row['object']} belongs to {row['owner']}"
            if not row["is_trusted"]:
                exposures[told] = None
            if row["is_watched"] or not row["is_trusted"]:
                owners.setdefault(row["owner"], told)
            if row["relation"]:
                reads[row["schema"], row["relation"]] = None
    if is_harmless and exposures:
        # whose code runs as that role could alter all functions that it owns
        exposures = dict.fromkeys(owners.values() if len(owners) > 1 else ())
    return Reach(tuple(exposures), tuple(reads), has_several=is_harmless)


async def _reached(
    connection: Connection, watch: Watch, tables: Sequence[Table], owner: str
) -> "list[asyncpg.Record]":
    named = tables[0]
    expressions = [text for text in watch.expressions.values() if not plain_column(text, named)]
    is_own_parent = False
    for text in expressions:
        is_own_parent |= named.sql in {t.sql for t in await looked_up(connection, text, named)}
    columns = [expression_sql(text, named) for text in expressions]
    async with probing(connection, columns or ["1"], named.sql):
        return await connection.fetch(
            _REACH, PROBE, [table.sql for table in tables], owner, is_own_parent
        )


async def find_hidden(
    connection: Connection, watched: Iterable[Watched], owner: str
) -> list[Hidden]:
    """What expressions look up and functions of this owner would not see. Inside a
    transaction.
    """
    found: dict[Hidden, None] = {}
    for watch, (table, *_) in watched:
        texts = [text for text in watch.expressions.values() if not plain_column(text, table)]
        if texts:
            rows = await fetch_of_look_ups(connection, texts, table, HIDDEN_SQL, [owner])
            found |= dict.fromkeys(Hidden(*row) for row in rows)
    return list(found)


async def ensure_sight(
    connection: Connection, watched: Sequence[Watched], owner: str
) -> list[Hidden]:
    """What functions of this owner still would not see, once it was given BYPASSRLS where it
    needs that, can do nothing else, and who installs may give it.
    """
    hidden = await find_hidden(connection, watched, owner)
    found = await connection.fetchrow(_ROLE, owner)
    is_harmless = found is not None and not found["can_do_more"]
    if is_harmless and any(one.is_filtered and one.role == owner for one in hidden):
        with suppress(asyncpg.InsufficientPrivilegeError):
            async with connection.transaction():
                await connection.execute(f"alter role {quote_identifier(owner)} bypassrls")
        hidden = await find_hidden(connection, watched, owner)
    return hidden


def owner_statements(owner: str, reads: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """SQL that gives our functions to the role, and the role what they need."""
    name = quote_identifier(owner)
    schemas = sorted({schema for schema, _ in reads})
    return (
        _OWNER_SQL.replace("{owner}", quote_literal(name)),
        *(f"grant usage on schema {schema} to {name};" for schema in schemas),
        *(f"grant select on {relation} to {name};" for _, relation in reads),
    )

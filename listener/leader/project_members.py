"""Asks the database whose own lists a change of a project concerns."""

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import asyncpg

from listener.capture.function_owner import HIDDEN_SQL, Hidden
from listener.capture.watched_tables import PROBE, probing
from listener.leader.recipients import Members, group_members
from listener.links.pg_link import Connection, PgLost, finding_names, telling_loss
from shared.config.access_rules import AccessRules, bounded_sql
from shared.links.search_path import OWN_SCHEMAS_SQL, SEARCH_PATH, safe_search_path
from shared.runtime.lifecycle import FatalError

MAX_MEMBERS: Final = 100_000
# Meanwhile the leader does nothing else: after 5 s without a tick gateways check all access.
MEMBERS_SECONDS: Final = 3.0
_REFUSED: Final = "[access] members can't be asked"
_LISTENERS: Final = """\
select coalesce(array_agg(r.rolname::text), '{}')
  from pg_class c
 cross join lateral aclexplode(c.relacl) a
  join pg_roles r on r.oid = a.grantee
 where c.oid = 'neverstale.change_log'::regclass
   and a.privilege_type = 'DELETE' and r.oid <> c.relowner and r.rolcanlogin"""
_GRANTS: Final = "see the grants in docs/how-to/postgresql-roles.md"

# What fails in the same way again says something of the query or the projects, not of the link.
_OF_THE_LINK: Final = (
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.TransactionRollbackError,
)

# A value of a row is not valid in UTF-8: the query itself works.
_NO_TEXT: Final = (
    asyncpg.CharacterNotInRepertoireError,
    asyncpg.UntranslatableCharacterError,
    UnicodeDecodeError,
)

log = logging.getLogger(__name__)


class MembersQueryInvalid(FatalError):
    """The query does not fit the schema, or a right is missing."""


class _Unanswered(Exception):
    """The query failed for the projects that it was asked for, or took too long."""


class ProjectMembers:
    """The ``[access] members`` of ``invalidation.toml``, asked of the listener's own database.

    Every method raises ``PgLost``, and ``MembersQueryInvalid`` where the query is to blame.
    """

    def __init__(self, connection: Connection, rules: AccessRules) -> None:
        self._connection = connection
        self._rules = rules

    async def verify(self) -> None:
        """Find out at the start, not at the first change, whether it can be asked."""
        try:
            await self._ask([])
        except _Unanswered as exc:
            if isinstance(exc.__cause__, asyncpg.QueryCanceledError):  # a table may be locked
                raise PgLost(f"{_REFUSED}: {exc}") from exc
            if not isinstance(exc.__cause__, _NO_TEXT):
                raise FatalError(f"{_REFUSED}: {exc}") from exc

    async def verify_names(self) -> None:
        """Find out whether the query fits the schema, without planning it: that runs what the
        owners of its tables have put into their indexes, as the role that checks.
        """
        if not self._rules.members:
            return
        try:
            # what it sets for the transaction ends with it
            async with finding_names(self._connection, "default"), self._asking() as query:
                await self._connection.prepare(query)
        except _Unanswered as exc:
            raise FatalError(f"{_REFUSED}: {exc}") from exc

    async def find_hidden(self) -> list[Hidden]:
        """What the query reads and a role that was granted what listeners need would not see.

        Inside a transaction.
        """
        if not self._rules.members:
            return []
        query = bounded_sql(self._rules.members, 1).replace("$1", "null::pg_catalog.text[]")
        async with finding_names(self._connection, "default"):
            schemas = await self._connection.fetchval(OWN_SCHEMAS_SQL)
        async with (
            probing(self._connection, ["1"], f"({query})", safe_search_path(schemas)),
            finding_names(self._connection, SEARCH_PATH),
        ):
            roles = await self._connection.fetchval(_LISTENERS)
            rows = await self._connection.fetch(HIDDEN_SQL, PROBE, roles)
        return [Hidden(*row) for row in rows]

    async def can_be_queried(self) -> bool:
        """Whether the query fits the schema (again)."""
        try:
            await self._ask([])
        except MembersQueryInvalid:
            return False
        except _Unanswered as exc:
            return isinstance(exc.__cause__, _NO_TEXT)
        return True

    async def of(self, projects: Sequence[str]) -> Members | None:
        """The members of each project; None: they can't be told one by one.

        They are too many, the query took over 3 s, or a project's id is one that it can't be
        asked for: whoever sent that must not stop the listener.
        """
        if not projects or not self._rules.members:
            return {}
        try:
            pairs = await self._ask(projects)
        except _Unanswered as exc:
            log.warning("members can't be asked for", extra={"reason": str(exc)[:200]})
            return None
        return group_members(pairs, self._rules) if len(pairs) <= MAX_MEMBERS else None

    async def _ask(self, projects: Sequence[str]) -> list[tuple[str, str]]:
        """At most one pair more than ``MAX_MEMBERS``. Raises ``_Unanswered``."""
        if not self._rules.members:
            return []
        async with self._asking() as query:
            # not from the driver's cache: ALTER TABLE may change what a cached plan returns
            statement = await self._connection.prepare(query)
            rows = await statement.fetch(list(projects))
        return [(project_id, user_id) for project_id, user_id in rows]

    @asynccontextmanager
    async def _asking(self) -> AsyncIterator[str]:
        """A transaction for the query, which it yields. Raises ``_Unanswered``."""
        async with telling_loss():
            try:
                async with self._connection.transaction(readonly=True):
                    await self._connection.execute(
                        "set local enable_seqscan to default; set local row_security = off;"
                        f"set local statement_timeout = {round(MEMBERS_SECONDS * 1000)};"
                        f"set local search_path = {safe_search_path(await self._schemas())}"
                    )
                    yield bounded_sql(self._rules.members, MAX_MEMBERS + 1)
            except asyncpg.InsufficientPrivilegeError as exc:
                raise MembersQueryInvalid(f"{_REFUSED}: {exc}: {_GRANTS}") from exc
            except asyncpg.SyntaxOrAccessError as exc:
                raise MembersQueryInvalid(f"{_REFUSED}: {exc}") from exc
            except _OF_THE_LINK:
                raise
            except (asyncpg.PostgresError, ValueError) as exc:
                raise _Unanswered(str(exc)) from exc

    async def _schemas(self) -> list[str]:
        """In which the query's names are looked up: as the role or the database is set."""
        await self._connection.execute("set local search_path to default")
        schemas: list[str] = await self._connection.fetchval(OWN_SCHEMAS_SQL)
        return schemas

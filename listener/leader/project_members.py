"""Queries the members of projects: the recipients of a change of the project itself."""

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import asyncpg

from listener.capture.function_owner import HIDDEN_RELATIONS_SQL, HiddenRelation
from listener.capture.probe_view import PROBE_VIEW, probe_view
from listener.leader.recipients import Members, group_members
from listener.links.pg_link import Connection, PgLost, translated_errors, using_search_path
from shared.config.access_rules import AccessRules, bounded_sql
from shared.links.search_path import OWN_SCHEMAS_SQL, SEARCH_PATH, safe_search_path
from shared.runtime.lifecycle import FatalError

MAX_MEMBERS: Final = 100_000
# The leader does nothing else meanwhile; after 5 s without a tick gateways recheck all access.
MEMBERS_SECONDS: Final = 3.0
_FAILED: Final = "[access] members query failed"
_LISTENERS: Final = """\
select coalesce(array_agg(r.rolname::text), '{}')
  from pg_class c
 cross join lateral aclexplode(c.relacl) a
  join pg_roles r on r.oid = a.grantee
 where c.oid = 'neverstale.change_log'::regclass
   and a.privilege_type = 'DELETE' and r.oid <> c.relowner and r.rolcanlogin"""
_GRANTS: Final = "see the grants in docs/how-to/postgresql-roles.md"

# Errors of the link. Any other error would recur, since the query or the projects cause it.
_LINK_ERRORS: Final = (
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.TransactionRollbackError,
)

# A value in a row is not valid UTF-8: the query itself works.
_ENCODING_ERRORS: Final = (
    asyncpg.CharacterNotInRepertoireError,
    asyncpg.UntranslatableCharacterError,
    UnicodeDecodeError,
)

log = logging.getLogger(__name__)


class MembersQueryInvalid(FatalError):
    """The query does not fit the schema, or a right is missing."""


class _QueryFailed(Exception):
    """The query failed for the given projects, or took too long."""


class ProjectMembers:
    """The query ``[access] members`` of ``invalidation.toml``, on the listener's connection.

    Every method raises ``PgLost``, and ``MembersQueryInvalid`` if the query is at fault.
    """

    def __init__(self, connection: Connection, rules: AccessRules) -> None:
        self._connection = connection
        self._rules = rules

    async def verify(self) -> None:
        """Run the query for no projects, so that an error shows at the start, not later."""
        try:
            await self._query([])
        except _QueryFailed as exc:
            if isinstance(exc.__cause__, asyncpg.QueryCanceledError):  # a table may be locked
                raise PgLost(f"{_FAILED}: {exc}") from exc
            if not isinstance(exc.__cause__, _ENCODING_ERRORS):
                raise FatalError(f"{_FAILED}: {exc}") from exc

    async def verify_names(self) -> None:
        """Check that the query fits the schema, without planning it.

        Planning would run code that the owners of its tables have put into indexes, as the role
        that checks.
        """
        if not self._rules.members:
            return
        try:
            # the settings end with the transaction
            async with (
                using_search_path(self._connection, "default"),
                self._transaction() as query,
            ):
                await self._connection.prepare(query)
        except _QueryFailed as exc:
            raise FatalError(f"{_FAILED}: {exc}") from exc

    async def find_hidden(self) -> list[HiddenRelation]:
        """The relations of the query that the listeners' roles may not read, or only in part.

        Call it inside a transaction.
        """
        if not self._rules.members:
            return []
        query = bounded_sql(self._rules.members, 1).replace("$1", "null::pg_catalog.text[]")
        async with using_search_path(self._connection, "default"):
            schemas = await self._connection.fetchval(OWN_SCHEMAS_SQL)
        async with (
            probe_view(self._connection, ["1"], f"({query})", safe_search_path(schemas)),
            using_search_path(self._connection, SEARCH_PATH),
        ):
            roles = await self._connection.fetchval(_LISTENERS)
            rows = await self._connection.fetch(HIDDEN_RELATIONS_SQL, PROBE_VIEW, roles)
        return [HiddenRelation(*row) for row in rows]

    async def can_be_queried(self) -> bool:
        """Whether the query fits the schema."""
        try:
            await self._query([])
        except MembersQueryInvalid:
            return False
        except _QueryFailed as exc:
            return isinstance(exc.__cause__, _ENCODING_ERRORS)
        return True

    async def of(self, projects: Sequence[str]) -> Members | None:
        """The members of each project; None if they cannot be listed.

        There are too many, the query took over 3 s, or it fails for the id of a project, which
        must not stop the listener: any producer may have sent it.
        """
        if not projects or not self._rules.members:
            return {}
        try:
            pairs = await self._query(projects)
        except _QueryFailed as exc:
            log.warning("members query failed", extra={"reason": str(exc)[:200]})
            return None
        return group_members(pairs, self._rules) if len(pairs) <= MAX_MEMBERS else None

    async def _query(self, projects: Sequence[str]) -> list[tuple[str, str]]:
        """At most ``MAX_MEMBERS + 1`` pairs. Raises ``_QueryFailed``."""
        if not self._rules.members:
            return []
        async with self._transaction() as query:
            # Bypass the driver's cache: ALTER TABLE may change what a cached plan returns.
            statement = await self._connection.prepare(query)
            rows = await statement.fetch(list(projects))
        return [(project_id, user_id) for project_id, user_id in rows]

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[str]:
        """A transaction for the query, whose SQL it yields. Raises ``_QueryFailed``."""
        async with translated_errors():
            try:
                async with self._connection.transaction(readonly=True):
                    await self._connection.execute(
                        "set local enable_seqscan to default; set local row_security = off;"
                        f"set local statement_timeout = {round(MEMBERS_SECONDS * 1000)};"
                        f"set local search_path = {safe_search_path(await self._schemas())}"
                    )
                    yield bounded_sql(self._rules.members, MAX_MEMBERS + 1)
            except asyncpg.InsufficientPrivilegeError as exc:
                raise MembersQueryInvalid(f"{_FAILED}: {exc}: {_GRANTS}") from exc
            except asyncpg.SyntaxOrAccessError as exc:
                raise MembersQueryInvalid(f"{_FAILED}: {exc}") from exc
            except _LINK_ERRORS:
                raise
            except (asyncpg.PostgresError, ValueError) as exc:
                raise _QueryFailed(str(exc)) from exc

    async def _schemas(self) -> list[str]:
        """The schemas in which the query's names are looked up, as set for role or database."""
        await self._connection.execute("set local search_path to default")
        schemas: list[str] = await self._connection.fetchval(OWN_SCHEMAS_SQL)
        return schemas

"""Asks the database who may hear of a project."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, TypeAlias

import asyncpg

from shared.core.access_rules import AccessRules

Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
TIMEOUT_SECONDS: Final = 5.0


@asynccontextmanager
async def open_pool(url: str) -> AsyncIterator[Pool]:
    """A pool that connects when it is first asked: the database may be away at start."""
    pool = await asyncpg.create_pool(
        url,
        min_size=0,
        max_size=10,
        timeout=TIMEOUT_SECONDS,
        command_timeout=TIMEOUT_SECONDS,
        server_settings={"application_name": "neverstale gateway"},
    )
    try:
        yield pool
    finally:
        pool.terminate()


class AccessUnavailable(Exception):
    """The database could not be asked."""


class Access:
    """The ``[access] query`` of ``invalidation.toml``, asked of the primary."""

    def __init__(self, pool: Pool, rules: AccessRules) -> None:
        self._pool = pool
        self._rules = rules

    async def may_hear(self, project_id: str, user_id: str) -> bool:
        """Whether the user may hear of the project; both ids canonical.

        Raises:
            AccessUnavailable: the database is away or refused the query.
        """
        try:
            rows = await self._pool.fetch(self._rules.query, [project_id], [user_id])
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as exc:
            raise AccessUnavailable(f"{type(exc).__name__}: {exc}") from exc
        return any((str(row[0]), str(row[1])) == (project_id, user_id) for row in rows)

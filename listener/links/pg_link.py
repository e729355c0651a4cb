"""Connections to PostgreSQL, their errors, and the search path inside a transaction."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, TypeAlias

import asyncpg

from shared.links.postgres import connect_any, connect_arguments
from shared.links.search_path import SEARCH_PATH
from shared.runtime.lifecycle import FatalError

TIMEOUT_SECONDS: Final = 5.0
_LOST: Final = (
    OSError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.ReadOnlySQLTransactionError,  # a standby that may become the primary
    asyncpg.ObjectNotInPrerequisiteStateError,  # the database takes no connections for now
    asyncpg.InsufficientResourcesError,
    asyncpg.PostgresSystemError,
    asyncpg.TransactionRollbackError,
    # the session or the driver has cached an object that a migration has replaced
    asyncpg.InvalidCachedStatementError,
    asyncpg.InternalServerError,  # "cache lookup failed for ..."
)
# what PostgreSQL raises for a setting in the URL
_REFUSED: Final = (
    asyncpg.DataError,
    asyncpg.SyntaxOrAccessError,
    asyncpg.ObjectNotInPrerequisiteStateError,
)

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


class PgLost(Exception):
    """PostgreSQL did not answer, or ended the session."""


class NotAdmitted(FatalError):
    """PostgreSQL refuses the role, its password or the database."""


@asynccontextmanager
async def translated_errors() -> AsyncIterator[None]:
    """Translate the library's errors: ``PgLost`` if a retry may help, else ``FatalError``."""
    try:
        yield
    except asyncpg.ClientConfigurationError as exc:
        raise FatalError(f"DATABASE_URL: {exc}") from exc
    except _LOST as exc:
        raise PgLost(f"{type(exc).__name__}: {exc}") from exc
    except (
        asyncpg.InvalidSchemaNameError,
        asyncpg.UndefinedTableError,
        asyncpg.UndefinedFunctionError,
    ) as exc:
        raise FatalError(
            f"Neverstale is not installed here, or by an older version ({exc}): "
            "run neverstale install"
        ) from exc
    except asyncpg.InsufficientPrivilegeError as exc:
        raise FatalError(f"{exc}: see the grants in docs/how-to/postgresql-roles.md") from exc
    except (
        asyncpg.InvalidAuthorizationSpecificationError,
        asyncpg.InvalidCatalogNameError,
    ) as exc:
        raise NotAdmitted(f"DATABASE_URL: {exc}") from exc


async def connect(url: str, name: str, **options: Any) -> Connection:
    """Open a connection to the database of ``DATABASE_URL``.

    Raises:
        PgLost: PostgreSQL cannot be reached.
        FatalError: it refuses what the URL asks for.
    """
    try:
        async with translated_errors():
            connection = await connect_any(
                **{"timeout": TIMEOUT_SECONDS, **connect_arguments(url, name), **options}
            )
    except _REFUSED as exc:
        raise FatalError(f"DATABASE_URL asks for what PostgreSQL refuses: {exc}") from exc
    except asyncpg.PostgresError as exc:
        raise PgLost(f"{type(exc).__name__}: {exc}") from exc
    except PgLost as exc:
        if "startup parameter" in str(exc):  # PgBouncer has one code for all its errors
            raise FatalError(f"DATABASE_URL leads through a pooler: {exc}") from exc
        raise
    return connection


@asynccontextmanager
async def rolled_back_transaction(connection: Connection) -> AsyncIterator[None]:
    """Open a transaction that is rolled back; names are looked up in ``pg_catalog``.

    The path is set for the transaction alone: behind a pooler the session serves other clients.
    """
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute(f"set local search_path = {SEARCH_PATH}")
        yield
    finally:
        await transaction.rollback()


@asynccontextmanager
async def using_search_path(connection: Connection, path: str) -> AsyncIterator[None]:
    """Set ``search_path`` for the length of the block, inside a transaction; undo its changes.

    ``default`` is the path that the role or the database sets for the app, by which names in
    ``invalidation.toml`` are looked up.
    """
    savepoint = connection.transaction()
    await savepoint.start()
    try:
        await connection.execute(f"set local search_path = {path}")
        yield
    finally:
        await savepoint.rollback()  # releasing it would keep its search_path

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
    # of what a migration has replaced, the session or the driver remembers something older
    asyncpg.InvalidCachedStatementError,
    asyncpg.InternalServerError,  # "cache lookup failed for ..."
)
# settings in the URL
_REFUSED: Final = (
    asyncpg.DataError,
    asyncpg.SyntaxOrAccessError,
    asyncpg.ObjectNotInPrerequisiteStateError,
)

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


class PgLost(Exception):
    """PostgreSQL did not answer, or ended the session."""


class NotAdmitted(FatalError):
    """PostgreSQL does not let this role, with this password, into this database."""


@asynccontextmanager
async def telling_loss() -> AsyncIterator[None]:
    """Turns what the library raises about the link into ``PgLost``, and what can't heal into
    ``FatalError``.
    """
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
            "run python -m listener install"
        ) from exc
    except asyncpg.InsufficientPrivilegeError as exc:
        raise FatalError(f"{exc}: see the grants in docs/operations.md") from exc
    except (
        asyncpg.InvalidAuthorizationSpecificationError,
        asyncpg.InvalidCatalogNameError,
    ) as exc:
        raise NotAdmitted(f"DATABASE_URL: {exc}") from exc


async def connect(url: str, name: str, **options: Any) -> Connection:
    """A connection to the database of ``DATABASE_URL``.

    Raises:
        PgLost: PostgreSQL can't be reached.
        FatalError: it can, and refuses what the URL asks for.
    """
    try:
        async with telling_loss():
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
    """A transaction that changes nothing, in which only PostgreSQL's own names are found.

    The setting ends with it: behind a pooler the session is another client's next.
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
    """Inside a transaction: have names found by another ``search_path`` for a moment.

    ``default`` is the path that the role or the database has for the app: the one by which
    names in ``invalidation.toml`` are meant.
    """
    savepoint = connection.transaction()
    await savepoint.start()
    try:
        await connection.execute(f"set local search_path = {path}")
        yield
    finally:
        await savepoint.rollback()  # a released one would leave its search_path behind

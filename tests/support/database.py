"""Types of the app's own database connections and of their failures."""

from typing import Final, TypeAlias

import asyncpg

Database: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

# What a query on a lost connection raises. InternalClientError: a cancelled query can leave
# asyncpg's connection in a bad state.
GONE: Final = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
)

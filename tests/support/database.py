"""Connections of the app's own to its database."""

from typing import Final, TypeAlias

import asyncpg

Database: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

# What a query on a lost connection raises; asyncpg is left in a bad state by a cancelled query.
GONE: Final = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
)

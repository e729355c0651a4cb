"""Database roles for one test, and sessions as these roles."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import asyncpg

from tests.support.database import Database
from tests.support.world import World

DENIED: Final = asyncpg.InsufficientPrivilegeError
NOTIFY: Final = "select neverstale.notify('task', 'UPDATE', 'p')"


class Roles:
    """Creates roles whose names are unique to one test, and opens sessions as them."""

    def __init__(self, world: World) -> None:
        self.suffix = secrets.token_hex(4)
        self._world = world

    async def make(self, name: str, *grants: str) -> str:
        role = f"{name}_{self.suffix}"
        await self._world.database.execute(f"create role {role} login")
        for grant in grants:
            await self._world.database.execute(f"grant {grant} to {role}")
        return role

    def url(self, role: str) -> str:
        return self._world.database_url.replace("postgres@", f"{role}@")

    @asynccontextmanager
    async def session(self, role: str) -> AsyncIterator[Database]:
        session = await asyncpg.connect(self.url(role))
        try:
            yield session
        finally:
            await session.close()

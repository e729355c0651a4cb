"""An open transaction of a writer, and what it changes."""

from dataclasses import dataclass

from tests.chaos.record import Place
from tests.chaos.world import World
from tests.support.database import Database


class RolledBack(Exception):
    """Raised inside a transaction that is not to be committed."""


@dataclass
class Transaction:
    """An open transaction; ``places`` collects what it changes."""

    database: Database
    places: list[Place]
    world: World

    async def touch(self, project: str, resource: str, sql: str, *values: object) -> list[str]:
        """Run SQL that returns ids of rows of the project, and note them as changed."""
        ids = [str(row[0]) for row in await self.database.fetch(sql, *values)]
        self.places += [(project, resource, id_) for id_ in ids]
        return ids

"""An open transaction of a writer, with the rows that it changes."""

from dataclasses import dataclass

from tests.chaos.known_ids import KnownIds
from tests.chaos.record import RowKey
from tests.support.database import Database


class RolledBack(Exception):
    """Raised inside a transaction that must not be committed."""


@dataclass
class Transaction:
    """An open transaction. ``row_keys`` collects the rows that it changes."""

    database: Database
    row_keys: list[RowKey]
    known: KnownIds

    async def touch(self, project: str, resource: str, sql: str, *values: object) -> list[str]:
        """Run SQL that returns ids of rows of the project, and record these as changed."""
        ids = [str(row[0]) for row in await self.database.fetch(sql, *values)]
        self.row_keys += [(project, resource, id_) for id_ in ids]
        return ids

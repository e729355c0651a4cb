"""Asks the database whose own lists a change of a project concerns."""

import logging
from collections.abc import Iterable, Sequence
from typing import Final

import asyncpg

from listener.core.audience import Members, group_members
from listener.pg_link import Connection, telling_loss
from shared.core.access_rules import AccessRules
from shared.lifecycle import FatalError

MAX_MEMBERS: Final = 100_000
_REFUSED: Final = "[access] members can't be asked"
_GRANTS: Final = "see the grants in docs/operations.md"

log = logging.getLogger(__name__)


class Membership:
    """The ``[access] members`` of ``invalidation.toml``, asked of the listener's own database.

    Every method raises ``PgLost``, and ``FatalError`` where the query itself is to blame.
    """

    def __init__(self, connection: Connection, rules: AccessRules) -> None:
        self._connection = connection
        self._rules = rules

    async def verify(self) -> None:
        """Find out at the start, not at the first change, whether it can be asked."""
        try:
            await self._ask([])
        except asyncpg.DataError as exc:
            raise FatalError(f"{_REFUSED}: {exc}") from exc

    async def of(self, projects: Sequence[str]) -> Members | None:
        """The members of each project; None: they can't be told one by one.

        They are too many, or a project's id is one that the query can't be asked for: whoever
        sent that must not stop the listener.
        """
        if not projects or not self._rules.members:
            return {}
        try:
            pairs = await self._ask(projects)
        except asyncpg.DataError as exc:
            log.warning("members can't be asked for an id", extra={"reason": str(exc)})
            return None
        return group_members(pairs, self._rules) if len(pairs) <= MAX_MEMBERS else None

    async def _ask(self, projects: Iterable[str]) -> list[tuple[str, str]]:
        if not self._rules.members:
            return []
        async with telling_loss():
            try:
                async with self._connection.transaction(readonly=True):
                    # the query's names are found as the role finds them
                    await self._connection.execute(
                        "set local search_path to default; set local enable_seqscan to default"
                    )
                    cursor = await self._connection.cursor(self._rules.members, list(projects))
                    rows = await cursor.fetch(MAX_MEMBERS + 1)
            except asyncpg.InsufficientPrivilegeError as exc:
                raise FatalError(f"{_REFUSED}: {exc}: {_GRANTS}") from exc
            except asyncpg.SyntaxOrAccessError as exc:
                raise FatalError(f"{_REFUSED}: {exc}") from exc
        return [(str(row[0]), str(row[1])) for row in rows]

"""Buffers the changes that raw NOTIFYs brought until they are written to the change log."""

from typing import Final, TypeAlias

from listener.capture.log_actions import RECONNECT
from listener.leader.log_row import LogRow
from listener.leader.publication import PublicationRules

MAX_GROUPS: Final = 10_000
MAX_ROWS: Final = 20_000

_Key: TypeAlias = tuple[str, str | None, str]
_ALL: Final[_Key] = ("", None, RECONNECT)


class RawChanges:
    """A bounded collection of rows, each change once.

    Rows are grouped by project and user. A group with more rows than its channel's log can hold
    becomes one ``RECONNECT`` row; rows of the projects' own table are kept, one per action,
    since they cause rechecks. Memory is bounded by the number of groups.
    """

    def __init__(self, rules: PublicationRules) -> None:
        self._rules = rules
        self._groups: dict[tuple[str | None, str | None], dict[_Key, LogRow]] = {}
        self._count = 0

    def __bool__(self) -> bool:
        return bool(self._groups)

    def __len__(self) -> int:
        """The number of rows."""
        return self._count

    def add(self, row: LogRow) -> bool:
        """Add the change. False: there is no room, and it is lost."""
        owner = (row.project_id, row.user_id)
        if owner not in self._groups and len(self._groups) >= MAX_GROUPS:
            return False
        group = self._groups.setdefault(owner, {})
        is_own = row.resource in self._rules.project_resources
        if _ALL in group and not is_own:
            return True
        self._count -= len(group)
        key = (row.resource, None if _ALL in group else row.id, row.action)
        group.pop(key, None)
        group[key] = row
        most = self._rules.max_rows_of("project" if row.user_id is None else "user")
        if len(group) > most or self._count + len(group) > MAX_ROWS:
            self._reduce(group, row)
        self._count += len(group)
        return True

    def _reduce(self, group: dict[_Key, LogRow], newest: LogRow) -> None:
        own = [row for row in group.values() if row.resource in self._rules.project_resources]
        group.clear()
        group[_ALL] = LogRow(
            newest.project_id, newest.user_id, "bulk_change", None, RECONNECT, None
        )
        group.update({(row.resource, None, row.action): row for row in own})

    def take(self) -> list[LogRow]:
        """Remove all rows and return them."""
        rows = [row for group in self._groups.values() for row in group.values()]
        self.clear()
        return rows

    def clear(self) -> None:
        self._groups.clear()
        self._count = 0

"""Which users get a row of the change log on their own channels, and with which action."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

from listener.capture.log_actions import LOST
from listener.leader.log_row import CanonicalRow, LogRow, row_canonicalizer
from shared.config.access_rules import AccessRules, name_pairs

Members: TypeAlias = Mapping[str, Collection[str]]


def changed_projects(
    rows: Iterable[LogRow], rules: AccessRules, project_resources: Collection[str]
) -> list[str]:
    """The projects whose own rows changed: their members are recipients."""
    canonicalize = row_canonicalizer(rules)
    found = {canonicalize(row).project_id for row in rows if row.resource in project_resources}
    return sorted(project_id for project_id in found if project_id is not None)


def group_members(pairs: Iterable[tuple[str, str]], rules: AccessRules) -> Members:
    """The members of each project, from the pairs that ``[access] members`` returned."""
    members: dict[str, set[str]] = {}
    for project_id, user_id in name_pairs(pairs, rules):
        members.setdefault(project_id, set()).add(user_id)
    return members


class UserRecipients:
    """The users who get each row of a batch on their own channels.

    A row that names a user goes to that user. A project's own row goes to all its members too.
    A deleted project has no members any more; the users whom the same batch names with it were
    members, since the rows of its members are deleted with it.
    """

    def __init__(
        self,
        rows: Sequence[CanonicalRow],
        members: Members,
        project_resources: Collection[str],
        resources_without_access: Collection[str],
    ) -> None:
        self._members = members
        self._project_resources = project_resources
        self._resources_without_access = resources_without_access
        self._handed_over: set[str] = set()
        self._owners: dict[str, dict[str, str]] = {}  # project -> owner -> the newest action
        self._named: dict[str, set[str]] = {}
        for row in rows:
            if row.project_id is None:
                continue
            is_own = self.is_project(row)
            if is_own and row.row.action == LOST:
                self._handed_over.add(row.project_id)
            if row.user_id is not None:
                self._named.setdefault(row.project_id, set()).add(row.user_id)
                if is_own:
                    owners = self._owners.setdefault(row.project_id, {})
                    owners[row.user_id] = row.row.action

    def is_project(self, row: CanonicalRow) -> bool:
        """Whether the row is one of the projects' own table."""
        return row.row.resource in self._project_resources

    def changes_access(self, row: CanonicalRow, action: str) -> bool:
        """Whether a recipient of the row, as *action*, may have gained or lost its project.

        The owner of a project gains it by an INSERT of its own row and loses it by a DELETE.
        Any other row that names a user may be what gives that user access, if its watch does
        not say ``access = false``.
        """
        if row.project_id is None or row.row.resource in self._resources_without_access:
            return False
        return action != "UPDATE" or not self.is_project(row)

    def of(self, row: CanonicalRow) -> Iterator[tuple[str, str]]:
        """Each user who gets the row, with the action that it has for that user."""
        if row.user_id is not None:
            yield row.user_id, self._action_for(row, row.user_id)
        if row.project_id is None or not self.is_project(row):
            return
        others = set(self._members.get(row.project_id, ()))
        if row.row.action == "DELETE":
            others |= self._named.get(row.project_id, set())
        for user_id in sorted(others - self._owners.get(row.project_id, {}).keys()):
            yield user_id, as_update(row.row.action)

    def _action_for(self, row: CanonicalRow, user_id: str) -> str:
        """The action for the user whom the row names.

        When the owner changed, DELETE for the old one and INSERT for the new one.
        """
        action = row.row.action
        if row.project_id is None or not self.is_project(row):
            return as_update(action)
        if action == LOST:
            return "DELETE"
        is_new = self._owners[row.project_id][user_id] != LOST
        if action == "UPDATE" and row.project_id in self._handed_over and is_new:
            return "INSERT"
        return action


def as_update(action: str) -> str:
    """The action for everyone but the owner who lost the project: LOST is an UPDATE."""
    return "UPDATE" if action == LOST else action

"""Whose own lists a change concerns: what is told on ``user:`` channels, and to whom."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

from listener.leader.log_row import LOST, LogRow, NamedRow, name_rows
from shared.config.access_rules import AccessRules, name_pairs

Members: TypeAlias = Mapping[str, Collection[str]]


def changed_projects(
    rows: Iterable[LogRow], rules: AccessRules, project_resources: Collection[str]
) -> list[str]:
    """The projects that are themselves among the rows: their members have to be known."""
    name = name_rows(rules)
    found = {name(row).project_id for row in rows if row.resource in project_resources}
    return sorted(project_id for project_id in found if project_id is not None)


def group_members(pairs: Iterable[tuple[str, str]], rules: AccessRules) -> Members:
    """The members of each project, of what ``[access] members`` answered."""
    members: dict[str, set[str]] = {}
    for project_id, user_id in name_pairs(pairs, rules):
        members.setdefault(project_id, set()).add(user_id)
    return members


class UserRecipients:
    """Who is told of each row of a batch on a channel of their own, and as what.

    A row that names a user is told to that user. A project's own row is told to all its members
    too. Of a deleted project nobody is a member any more: those whom the same batch names with
    that project were (the rows of its members went with it).
    """

    def __init__(
        self, rows: Sequence[NamedRow], members: Members, project_resources: Collection[str]
    ) -> None:
        self._members = members
        self._project_resources = project_resources
        self._handed_over: set[str] = set()
        self._owners: dict[str, dict[str, str]] = {}  # what was done last, by project and owner
        self._named: dict[str, set[str]] = {}
        for named in rows:
            if named.project_id is None:
                continue
            is_own = self.is_project(named)
            if is_own and named.row.action == LOST:
                self._handed_over.add(named.project_id)
            if named.user_id is not None:
                self._named.setdefault(named.project_id, set()).add(named.user_id)
                if is_own:
                    owners = self._owners.setdefault(named.project_id, {})
                    owners[named.user_id] = named.row.action

    def is_project(self, named: NamedRow) -> bool:
        """Whether the row is one of the projects' own table."""
        return named.row.resource in self._project_resources

    def changes_access(self, named: NamedRow, action: str) -> bool:
        """Whether a recipient of the row, told as *action*, may have gained or lost access.

        A row of the projects' own table gives access to its owner: INSERT and DELETE say that
        this changed. Any other row that names a user may be what gives access to the project.
        """
        if named.project_id is None:
            return False
        return action != "UPDATE" or not self.is_project(named)

    def of(self, named: NamedRow) -> Iterator[tuple[str, str]]:
        """Each user who is told of the row, with the action as which it is told."""
        if named.user_id is not None:
            yield named.user_id, self._as_told(named, named.user_id)
        if named.project_id is None or not self.is_project(named):
            return
        others = set(self._members.get(named.project_id, ()))
        if named.row.action == "DELETE":
            others |= self._named.get(named.project_id, set())
        for user_id in sorted(others - self._owners.get(named.project_id, {}).keys()):
            yield user_id, as_update(named.row.action)

    def _as_told(self, named: NamedRow, user_id: str) -> str:
        """A changed owner: the old one is told DELETE, the new one INSERT."""
        action = named.row.action
        if named.project_id is None or not self.is_project(named):
            return as_update(action)
        if action == LOST:
            return "DELETE"
        is_new = self._owners[named.project_id][user_id] != LOST
        if action == "UPDATE" and named.project_id in self._handed_over and is_new:
            return "INSERT"
        return action


def as_update(action: str) -> str:
    """The action for those to whom it does not matter that an owner lost the project."""
    return "UPDATE" if action == LOST else action

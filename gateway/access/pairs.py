"""A mapping by project and user that also finds all pairs of one project or of one user."""

from collections.abc import Iterator
from typing import Generic, TypeAlias, TypeVar

from shared.protocol.control_messages import Recheck

Pair: TypeAlias = tuple[str, str]
Value = TypeVar("Value")


class PairMap(Generic[Value]):
    """Values by pair, oldest first.

    A lookup costs in proportion to the pairs that it finds, not to those that are stored.
    """

    def __init__(self) -> None:
        self._values: dict[Pair, Value] = {}
        self._users: dict[str, dict[str, None]] = {}  # by project
        self._projects: dict[str, dict[str, None]] = {}  # by user

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator[Pair]:
        return iter(self._values)

    def get(self, pair: Pair) -> Value | None:
        return self._values.get(pair)

    def put(self, pair: Pair, value: Value) -> None:
        """Store the value as the newest."""
        self._values.pop(pair, None)
        self._values[pair] = value
        self._users.setdefault(pair[0], {})[pair[1]] = None
        self._projects.setdefault(pair[1], {})[pair[0]] = None

    def pop(self, pair: Pair) -> Value | None:
        if pair not in self._values:
            return None
        project, user = pair
        _discard(self._users, project, user)
        _discard(self._projects, user, project)
        return self._values.pop(pair)

    def matching(self, recheck: Recheck) -> list[Pair]:
        """Return the stored pairs that the recheck concerns."""
        project, user = recheck.project_id, recheck.user_id
        if project is None:
            if user is None:
                return list(self._values)
            return [(one, user) for one in self._projects.get(user, ())]
        if user is None:
            return [(project, one) for one in self._users.get(project, ())]
        return [(project, user)] if (project, user) in self._values else []


def _discard(index: dict[str, dict[str, None]], key: str, item: str) -> None:
    del index[key][item]
    if not index[key]:
        del index[key]

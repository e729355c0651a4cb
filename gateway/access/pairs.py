"""A mapping by project and user that also finds all pairs of one project or of one user."""

from collections.abc import Collection, Iterator
from typing import Generic, TypeAlias, TypeVar

from shared.protocol.control_messages import Recheck

Pair: TypeAlias = tuple[str, str]
Value = TypeVar("Value")
# One item as such: most users have one project here, which a dict would take more memory than.
_Index: TypeAlias = dict[str, str | dict[str, None]]


class PairMap(Generic[Value]):
    """Values by pair, oldest first.

    A lookup costs in proportion to the pairs that it finds, not to those that are stored.
    """

    def __init__(self) -> None:
        self._values: dict[Pair, Value] = {}
        self._users: _Index = {}  # by project
        self._projects: _Index = {}  # by user

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
        project, user = pair
        _add(self._users, project, user)
        _add(self._projects, user, project)

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
            return [(one, user) for one in _items(self._projects, user)]
        if user is None:
            return [(project, one) for one in _items(self._users, project)]
        return [(project, user)] if (project, user) in self._values else []


def _add(index: _Index, key: str, item: str) -> None:
    known = index.get(key)
    if known is None:
        index[key] = item
    elif isinstance(known, dict):
        known[item] = None
    elif known != item:
        index[key] = {known: None, item: None}


def _discard(index: _Index, key: str, item: str) -> None:
    known = index[key]
    if isinstance(known, dict):
        del known[item]
    if known == item or not known:
        del index[key]


def _items(index: _Index, key: str) -> Collection[str]:
    known = index.get(key, ())
    return (known,) if isinstance(known, str) else known

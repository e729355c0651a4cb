"""A counter that limits how many sockets an address or a user has."""

from collections.abc import Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


class SlotCounter(Generic[Key]):
    """Counts the slots that each key occupies; at most *maximum*, 0: unlimited."""

    def __init__(self, maximum: int) -> None:
        self._maximum = maximum
        self._occupied: dict[Key, int] = {}

    def __len__(self) -> int:
        return len(self._occupied)

    def take(self, key: Key) -> bool:
        """Occupy a slot, and return whether there was one left."""
        occupied = self._occupied.get(key, 0)
        if self._maximum and occupied >= self._maximum:
            return False
        self._occupied[key] = occupied + 1
        return True

    def free(self, key: Key) -> None:
        self._occupied[key] -= 1
        if not self._occupied[key]:
            del self._occupied[key]

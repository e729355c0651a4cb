"""Which connections are counted while they are no WebSockets, and which one must go when there
are too many.
"""

from collections.abc import Hashable
from typing import Generic, TypeVar

Connection = TypeVar("Connection", bound=Hashable)


class ConnectionSlots(Generic[Connection]):
    """Counts connections in all and by address.

    Over a limit the one that has kept the server waiting longest goes: a newcomer is never
    refused for the sake of an idle connection. A connection whose request is being handled
    stays.
    """

    def __init__(self, maximum: int, per_address: int) -> None:
        """Zero: no limit."""
        self._maximum = maximum
        self._per_address = per_address
        self._addresses: dict[Connection, str | None] = {}  # of all that are counted
        self._counts: dict[str, int] = {}
        self._waiting: dict[Connection, None] = {}  # the longest waiting first
        self._waiting_at: dict[str, dict[Connection, None]] = {}

    def __len__(self) -> int:
        return len(self._addresses)

    def wait(
        self, connection: Connection, address: str | None, *, is_full: bool = False
    ) -> Connection | None:
        """Count a connection that now waits for its client; address None: unknown.

        Returns the connection to cut, which is no longer counted: the longest waiting one of
        the same address or, if there are too many in all or *is_full*, of all. It is
        *connection* itself where all others are at work.
        """
        self.work(connection)
        if connection not in self._addresses:
            self._addresses[connection] = address
            if address is not None:
                self._counts[address] = self._counts.get(address, 0) + 1
        self._waiting[connection] = None
        victims = self._waiting
        if address is not None:
            of_address = self._waiting_at.setdefault(address, {})
            of_address[connection] = None
            if self._per_address and self._counts[address] > self._per_address:
                victims, is_full = of_address, True
        if not (is_full or (self._maximum and len(self._addresses) > self._maximum)):
            return None
        victim = next(iter(victims))
        self.leave(victim)
        return victim

    def work(self, connection: Connection) -> None:
        """Its request is being handled: it is counted, but must not be cut."""
        if connection not in self._waiting:
            return
        del self._waiting[connection]
        address = self._addresses[connection]
        if address is not None:
            del self._waiting_at[address][connection]
            if not self._waiting_at[address]:
                del self._waiting_at[address]

    def leave(self, connection: Connection) -> None:
        """It is gone, or counted elsewhere. Does nothing for one that is not counted."""
        self.work(connection)
        address = self._addresses.pop(connection, None)
        if address is not None:
            self._counts[address] -= 1
            if not self._counts[address]:
                del self._counts[address]

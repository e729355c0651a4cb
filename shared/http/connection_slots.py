"""Count connections while they are not WebSockets, and decide which one to abort when there are
too many.
"""

from collections.abc import Hashable
from typing import Generic, TypeVar

Connection = TypeVar("Connection", bound=Hashable)


class ConnectionSlots(Generic[Connection]):
    """Counts connections in all and by address.

    Over a limit, the connection that has kept the server waiting longest is aborted, so a new
    connection is never refused because of an idle one. A connection whose request is being
    handled stays.
    """

    def __init__(self, maximum: int, per_address: int) -> None:
        """Allow so many in all and for an address; 0: no limit."""
        self._maximum = maximum
        self._per_address = per_address
        self._addresses: dict[Connection, str | None] = {}  # of all counted connections
        self._counts: dict[str, int] = {}
        self._waiting: dict[Connection, None] = {}  # in the order in which they began to wait
        self._waiting_at: dict[str, dict[Connection, None]] = {}

    def __len__(self) -> int:
        return len(self._addresses)

    def wait(
        self, connection: Connection, address: str | None, *, is_full: bool = False
    ) -> Connection | None:
        """Count a connection that now waits for its client; *address* None: unknown.

        Returns the connection to abort, which is no longer counted, or None. It is the one
        waiting longest of the same address or, if there are too many in all or *is_full*, of
        all. It is *connection* itself if requests of all others are being handled.
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
        """Note that its request is being handled: it is counted, but must not be aborted."""
        if connection not in self._waiting:
            return
        del self._waiting[connection]
        address = self._addresses[connection]
        if address is not None:
            del self._waiting_at[address][connection]
            if not self._waiting_at[address]:
                del self._waiting_at[address]

    def leave(self, connection: Connection) -> None:
        """Stop counting it, if it is counted."""
        self.work(connection)
        address = self._addresses.pop(connection, None)
        if address is not None:
            self._counts[address] -= 1
            if not self._counts[address]:
                del self._counts[address]

"""The open WebSockets of this process, and how they are closed from our side."""

import asyncio
import logging
import random
from collections.abc import Iterator
from typing import Final

from gateway.http.connection_records import ConnectionRecords
from gateway.transport.connection import Connection
from shared.protocol.close_codes import CloseCode, unauthorized

MIN_CLOSES_PER_SECOND: Final = 50
_DISCONNECTED: Final = unauthorized("the session was ended: sign in again")

log = logging.getLogger(__name__)


class OpenConnections:
    """The connections that were admitted and have not ended."""

    def __init__(self, records: ConnectionRecords, *, drain_seconds: float) -> None:
        self._records = records
        self._connections: set[Connection] = set()
        self._drain_seconds = drain_seconds
        self._opening = 0
        self._none_left = asyncio.Event()
        self.is_draining = False

    def __iter__(self) -> Iterator[Connection]:
        """A snapshot: connections may come and go during the iteration."""
        return iter(list(self._connections))

    def begin_opening(self) -> None:
        """Let the drain wait for a handshake until ``end_opening``."""
        self._opening += 1

    def end_opening(self) -> None:
        """Note that the handshake has been answered."""
        self._opening -= 1
        self._notice_end()

    def add(self, connection: Connection) -> None:
        self._connections.add(connection)
        self._records.opened(connection)

    def discard(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self._records.ended(connection)
        self._notice_end()

    def _notice_end(self) -> None:
        if self.is_draining and not self._connections and not self._opening:
            self._none_left.set()

    def disconnect(self, user_id: str) -> None:
        """Close all connections of the user, who may connect again with a token."""
        for connection in self:
            if connection.user_id == user_id:
                connection.end_with(_DISCONNECTED)

    async def drain_when(self, stop: asyncio.Event, drained: asyncio.Event) -> None:
        """Once *stop* is set, accept no new connections, close the open ones, and set
        *drained*.

        They are closed in random order and spread over time, so that the clients do not all
        connect elsewhere at once. What a sleep takes longer than asked for is not added up:
        with 20,000 connections that would be a third of the time.
        """
        await stop.wait()
        self.is_draining = True
        connections = list(self._connections)
        random.shuffle(connections)
        seconds = min(self._drain_seconds, len(connections) / MIN_CLOSES_PER_SECOND)
        log.info("draining", extra={"sockets": len(connections), "seconds": round(seconds, 1)})
        loop = asyncio.get_running_loop()
        began = loop.time()
        self._notice_end()
        for number, connection in enumerate(connections, 1):
            if self._none_left.is_set():
                break
            connection.end(CloseCode.DRAINING, "draining")
            due = began + seconds * number / len(connections)
            await asyncio.sleep(max(0.0, due - loop.time()))
        await self._none_left.wait()
        drained.set()

"""Looks after the deadlines of all open connections, so that none has a timer of its own."""

import asyncio
import math
from typing import Final

from gateway.auth.token_verifier import KEY_WITHDRAWN, TokenVerifier
from gateway.http.admission import NO_REDIS
from gateway.http.open_connections import OpenConnections
from gateway.transport.connection import Connection
from shared.protocol.close_codes import TOKEN_EXPIRED

SWEEP_SECONDS: Final = 0.5


class ConnectionSweep:
    """Pings silent clients, refuses those that can't be greeted in time, warns v1 clients
    before their token expires, and closes connections without a valid one.

    A connection that nothing is due for costs two comparisons.
    """

    def __init__(self, verifier: TokenVerifier, connections: OpenConnections) -> None:
        self._verifier = verifier
        self._connections = connections

    async def run(self) -> None:
        """Never returns."""
        loop = asyncio.get_running_loop()
        key_changes = self._verifier.key_changes
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            now, time_of_day = loop.time(), self._verifier.now()
            if key_changes != self._verifier.key_changes:
                key_changes, time_of_day = self._verifier.key_changes, math.inf  # check all
            for connection in self._connections:
                if connection.due_at <= now:
                    self._check(connection, now)
                if connection.token_due_at <= time_of_day:
                    self._check_token(connection)

    def _check(self, connection: Connection, now: float) -> None:
        if connection.is_greeted:
            connection.check(now)
        else:
            connection.end_with(NO_REDIS)

    def _check_token(self, connection: Connection) -> None:
        """Check a token that was not checked since the connection was opened or got it, may be
        about to expire, or whose key may have been withdrawn.
        """
        if not connection.is_greeted:
            return  # the greeting is the first frame
        identity, leeway_seconds = connection.identity, self._verifier.leeway_seconds
        seconds = self._verifier.seconds_left(identity)
        if seconds <= -leeway_seconds:
            connection.end_with(TOKEN_EXPIRED)
        elif self._verifier.is_withdrawn(identity):
            connection.end_with(KEY_WITHDRAWN)
        else:
            warn_at_seconds = connection.warn_of_expiry(seconds)
            connection.token_due_at = identity.expires_at - max(
                warn_at_seconds, -leeway_seconds
            )

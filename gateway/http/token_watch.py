"""Watches the tokens of open connections: expiry, and keys that are withdrawn."""

import asyncio
from typing import Final

from gateway.auth.token_verifier import KEY_WITHDRAWN, TokenVerifier
from gateway.http.open_connections import OpenConnections
from gateway.transport.connection import Connection
from shared.protocol.close_codes import TOKEN_EXPIRED

CHECK_SECONDS: Final = 0.5


class TokenWatch:
    """Warns v1 clients before their token expires, and closes connections without a valid
    one.
    """

    def __init__(self, verifier: TokenVerifier, connections: OpenConnections) -> None:
        self._verifier = verifier
        self._connections = connections

    async def run(self) -> None:
        """Never returns."""
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            for connection in self._connections:
                if connection.greeted.is_set():  # the greeting is the first frame
                    self._check(connection)

    def _check(self, connection: Connection) -> None:
        seconds = self._verifier.seconds_left(connection.identity)
        if seconds <= -self._verifier.leeway_seconds:
            connection.end_with(TOKEN_EXPIRED)
        elif self._verifier.is_withdrawn(connection.identity):
            connection.end_with(KEY_WITHDRAWN)
        else:
            connection.warn_of_expiry(seconds)

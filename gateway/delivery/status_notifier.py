"""Tells clients whether changes reach them as they happen."""

import asyncio
from typing import Final

from gateway.delivery.liveness import Liveness
from gateway.delivery.subscriptions import Subscriptions
from gateway.transport.connection import Connection

STATUS_SECONDS: Final = 0.5


class StatusNotifier:
    """Sends ``status`` frames, and suspends project subscriptions while no leader ticks."""

    def __init__(self, subscriptions: Subscriptions[Connection], liveness: Liveness) -> None:
        self._subscriptions = subscriptions
        self._liveness = liveness

    async def run(self) -> None:
        """Compare every connection's last status with the present one. Never returns."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(STATUS_SECONDS)
            now = loop.time()
            is_live, is_silent = self._liveness.is_live(now), self._liveness.is_missing(now)
            for connection in self._subscriptions.subscribers:
                if connection.is_greeted:  # the greeting is the first frame
                    if is_silent:
                        self._suspend_projects(connection)
                    self._notify(connection, is_live=is_live)

    def _suspend_projects(self, connection: Connection) -> None:
        """Without a leader rechecks may be missed, too: at its next tick access is checked
        again, and subscriptions are resumed or revoked.
        """
        for channel in self._subscriptions.channels_of(connection):
            if channel.kind == "project":
                self._subscriptions.suspend(connection, channel)

    def _notify(self, connection: Connection, *, is_live: bool) -> None:
        if (
            connection.reported_live != is_live
            # it may stop polling only once it has all that it missed
            and (not is_live or self._subscriptions.is_caught_up(connection))
        ):
            connection.report_liveness(live=is_live)

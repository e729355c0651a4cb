"""Tells clients whether changes reach them as they happen."""

import asyncio
from typing import Final

from gateway.delivery.liveness import MISSING_SECONDS, Liveness
from gateway.delivery.subscriptions import Subscriptions
from gateway.transport.connection import Connection

STATUS_SECONDS: Final = 0.5


class StatusNotifier:
    """Sends ``status`` frames, and suspends project subscriptions while no leader ticks.

    A client is not live either while the node of a cluster that serves one of its channels has
    been away for some time.
    """

    def __init__(self, subscriptions: Subscriptions[Connection], liveness: Liveness) -> None:
        self._subscriptions = subscriptions
        self._liveness = liveness
        # those with channels that Redis has not acknowledged, each with since when
        self._unsubscribed: dict[Connection, float] = {}

    async def run(self) -> None:
        """Compare every connection's last status with the present one. Never returns."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(STATUS_SECONDS)
            now = loop.time()
            is_live, is_silent = self._liveness.is_live(now), self._liveness.is_missing(now)
            self._unsubscribed = {
                connection: self._unsubscribed.get(connection, now)
                for connection in self._subscriptions.find_unacknowledged()
            }
            away = {
                connection
                for connection, since in self._unsubscribed.items()
                if now - since >= MISSING_SECONDS
            }
            for connection in self._subscriptions.subscribers:
                is_right = connection.reported_live == (is_live and connection not in away)
                # of most there is nothing to say; the greeting is the first frame
                if (is_right and not is_silent) or not connection.is_greeted:
                    continue
                if is_silent:
                    self._suspend_projects(connection)
                if not is_right:
                    self._notify(connection)

    def _suspend_projects(self, connection: Connection) -> None:
        """Without a leader rechecks may be missed, too: at its next tick access is checked
        again, and subscriptions are resumed or revoked.
        """
        for channel in self._subscriptions.channels_of(connection):
            if channel.kind == "project":
                self._subscriptions.suspend(connection, channel)

    def _notify(self, connection: Connection) -> None:
        is_live = not connection.reported_live
        # it may stop polling only once it has all that it missed
        if not is_live or self._subscriptions.is_caught_up(connection):
            connection.report_liveness(live=is_live)

"""Metrics and log lines of sockets: how many are open, how they ended, and with what totals."""

import asyncio
import logging
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge

from gateway.transport.connection import Connection
from gateway.transport.frame_parser import NO_STATUS
from shared.protocol.close_codes import CloseCode
from shared.runtime.log_throttle import LogThrottle

LINES_PER_SECOND: Final = 10
# Ours, those of the RFC's that we send or clients usually do, and 1006: no Close frame.
_CODES: Final = frozenset(
    {1000, 1001, 1002, NO_STATUS, 1006, 1007, 1009, *(int(code) for code in CloseCode)}
)

log = logging.getLogger(__name__)


class ConnectionRecords:
    """Counts all sockets, and logs a bounded number of those that end."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._throttle = LogThrottle(lines=LINES_PER_SECOND, seconds=1.0)
        self._open = Gauge(
            "neverstale_sockets", "Open sockets by kind of client", ["kind"], registry=registry
        )
        self._closed = Counter(
            "neverstale_sockets_closed_total",
            "Sockets that ended, by kind of client and close code",
            ["kind", "code"],
            registry=registry,
        )

    async def run(self) -> None:
        """Log how many sockets had no line of their own. Never returns."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                await asyncio.sleep(1)
                self._log_left_out(self._throttle.due(loop.time()))
        finally:
            self._log_left_out(self._throttle.due(float("inf")))

    def opened(self, connection: Connection) -> None:
        """Count a socket that was admitted."""
        self._open.labels(connection.KIND).inc()

    def ended(self, connection: Connection) -> None:
        """Count the end of a socket, and log it unless too many end now."""
        code = connection.ending.code
        self._open.labels(connection.KIND).dec()
        self._closed.labels(connection.KIND, str(code) if code in _CODES else "other").inc()
        count = self._throttle.count(asyncio.get_running_loop().time())
        if count:
            log.info("connection ended", extra={**connection.totals, "left_out": count - 1})

    def _log_left_out(self, count: int) -> None:
        if count:
            log.info("connections ended without a line of their own", extra={"count": count})

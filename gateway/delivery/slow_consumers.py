"""Clients that read more slowly than frames arrive."""

import asyncio
from collections.abc import Callable, Iterable

from gateway.delivery.effects import Effect
from gateway.delivery.subscriptions import Subscriptions
from gateway.metrics import FanoutMetrics
from gateway.transport.connection import DRAIN_POLL_SECONDS, Connection
from shared.protocol.close_codes import CloseCode


class SlowConsumers:
    """Connections whose buffer is full: each is caught up once it has drained, or closed after
    *slow_seconds*.
    """

    def __init__(
        self,
        subscriptions: Subscriptions[Connection],
        perform: Callable[[Iterable[Effect[Connection]]], None],
        metrics: FanoutMetrics,
        *,
        slow_seconds: float,
    ) -> None:
        self._subscriptions = subscriptions
        self._perform = perform
        self._metrics = metrics
        self._slow_seconds = slow_seconds
        self._deadlines: dict[Connection, float] = {}
        self._has_any = asyncio.Event()

    def add(self, connection: Connection) -> None:
        """Deliver nothing more to the connection until its buffer has drained."""
        if connection not in self._deadlines:
            now = asyncio.get_running_loop().time()
            self._deadlines[connection] = now + self._slow_seconds
            self._has_any.set()
            self._subscriptions.mark_slow(connection)

    def discard(self, connection: Connection) -> None:
        """Forget a connection that has ended."""
        self._deadlines.pop(connection, None)

    async def run(self) -> None:
        """Poll the buffers while any is full; the transport reports no progress. Never
        returns.
        """
        loop = asyncio.get_running_loop()
        while True:
            await self._has_any.wait()
            for connection, deadline in list(self._deadlines.items()):
                if connection.is_drained:
                    del self._deadlines[connection]
                    self._metrics.slow_outcomes.labels("drained").inc()
                    self._perform(self._subscriptions.mark_drained(connection))
                elif loop.time() > deadline:
                    del self._deadlines[connection]
                    self._metrics.slow_outcomes.labels("closed").inc()
                    connection.end(CloseCode.TOO_SLOW, "too slow")
            self._metrics.slow.set(len(self._deadlines))
            if not self._deadlines:
                self._has_any.clear()
            await asyncio.sleep(DRAIN_POLL_SECONDS)

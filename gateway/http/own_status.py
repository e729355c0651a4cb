"""The status of this gateway, as it reports it once a second."""

from typing import Any

from gateway.delivery.fanout import Fanout
from gateway.delivery.redis_parts import LinkedNodes
from gateway.http.application import Readiness
from gateway.metrics import FanoutMetrics
from shared.links.status_board import RedisClock
from shared.runtime.counter_values import count_of, counts_by_label
from shared.runtime.recent_history import RecentHistory


class OwnStatus:
    """Collects the status. The cost is bounded, whatever is connected."""

    def __init__(
        self,
        fanout: Fanout,
        metrics: FanoutMetrics,
        readiness: Readiness,
        linked_nodes: LinkedNodes | None,
    ) -> None:
        self._fanout = fanout
        self._metrics = metrics
        self._readiness = readiness
        self._linked_nodes = linked_nodes
        self._history = RecentHistory()

    def describe(self, clock: RedisClock) -> dict[str, Any]:
        """Return the status of the second that has passed; to be called once a second."""
        fanout, history = self._fanout, self._history
        arrivals = list(fanout.arrivals)
        fanout.arrivals.clear()
        delays = [max(0.0, clock.at(time) - offset / 1e6) for offset, time in arrivals]
        history.add_total("delivered", self._metrics.frames.delivered)
        history.add_milliseconds("deliver", delays)
        history.note_resets(counts_by_label(self._metrics.resets), at=clock.seconds)
        is_ready, details = self._readiness.check()
        return {
            "state": "draining"
            if details["draining"]
            else ("ready" if is_ready else "not ready"),
            "degraded": details["degraded"],
            "redis": details["redis"],
            "redis_nodes": None if self._linked_nodes is None else self._linked_nodes(),
            "connections": fanout.connection_count,
            "channels": fanout.channel_count,
            "resumed": round(count_of(self._metrics.resumed)),
            "series": history.series,
            "resets": history.resets,
            "top_channels": [
                (channel.name, count) for channel, count in fanout.top_channels.update()
            ],
        }

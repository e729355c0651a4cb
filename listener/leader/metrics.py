"""The Prometheus metrics of a leader."""

from collections import deque
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

MAX_LAGS: Final = 512


class LeaderMetrics:
    """The metrics, and ``recent_lags``: those of the newest batches, for the status."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.events = Counter(
            "neverstale_events_published_total", "Events published", registry=registry
        )
        self.resets = Counter(
            "neverstale_resets_total", "Resets of all clients", ["reason"], registry=registry
        )
        self.refused = Counter(
            "neverstale_publish_refused_total",
            "Channels whose events Redis refused, and that were reset instead",
            registry=registry,
        )
        self.unreadable = Counter(
            "neverstale_log_unreadable_total",
            "Reads of the change log with a value that is not valid UTF-8",
            registry=registry,
        )
        self.redis_lost = Counter(
            "neverstale_redis_lost_total", "Lost Redis links", registry=registry
        )
        self.lag = Histogram(
            "neverstale_publish_lag_seconds",
            "From the oldest change of a batch, by the database's clock, until it was read",
            registry=registry,
            buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 30, 300),
        )
        self.recent_lags: deque[float] = deque(maxlen=MAX_LAGS)
        self.is_leader = Gauge(
            "neverstale_is_leader", "1 while this process leads", registry=registry
        )
        self.capture_differences = Gauge(
            "neverstale_capture_differences",
            "Triggers, functions and partitions that differ from what was installed",
            registry=registry,
        )
        self.pruned = Counter(
            "neverstale_log_rows_pruned_total", "Change log rows pruned", registry=registry
        )

    def observe_lag(self, seconds: float) -> None:
        """Record the lag of one batch."""
        self.lag.observe(seconds)
        self.recent_lags.append(seconds)

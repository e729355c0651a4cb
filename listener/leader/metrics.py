"""The Prometheus metrics of a leader."""

from collections import deque
from collections.abc import Iterator
from typing import Final, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from listener.leader.leader_state import LogSize
from shared.protocol.events import Reason
from shared.runtime.durations import DurationHistogram


class LogSizeMetrics(Collector):
    """Exports the change log's size as it was read last, and nothing while nobody reads it."""

    def __init__(self) -> None:
        self.size: LogSize | None = None

    def collect(self) -> Iterator[GaugeMetricFamily]:
        if self.size is None:
            return
        yield GaugeMetricFamily(
            "neverstale_log_rows",
            "Rows of the change log, as PostgreSQL estimates them",
            value=self.size.rows,
        )
        yield GaugeMetricFamily(
            "neverstale_log_bytes",
            "Size of the change log with its index",
            value=self.size.bytes,
        )
        yield GaugeMetricFamily(
            "neverstale_log_max_bytes",
            "Size of the change log above which triggers skip it",
            value=self.size.max_bytes,
        )
        yield GaugeMetricFamily(
            "neverstale_notification_queue_ratio",
            "How full PostgreSQL's queue of NOTIFYs is: 1 is full",
            value=self.size.queue_usage,
        )


MAX_LAGS: Final = 512


class LeaderMetrics:
    """The metrics, and ``recent_lags``: those of the newest batches, for the status."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.events = Counter(
            "neverstale_events_published_total",
            "Events published, counted for each channel, by resource",
            ["resource"],
            registry=registry,
        )
        self.channel_resets = Counter(
            "neverstale_channels_reset_total",
            "Channels that got a reset instead of their events",
            ["reason"],
            registry=registry,
        )
        self.rows_read = Counter(
            "neverstale_log_rows_read_total",
            "Rows read from the change log; of a backlog, after PostgreSQL conflated it",
            registry=registry,
        )
        self.conflated = Counter(
            "neverstale_rows_conflated_total",
            "Rows without an event because of a later one of the same row, in each channel",
            registry=registry,
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
        self.publish = DurationHistogram(
            "neverstale_publish_seconds",
            "From each change, by the database's clock, until Redis had acknowledged it",
            registry,
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
        for reason in get_args(Reason):  # an increase from nothing would not be seen
            self.resets.labels(reason)
        self.log_size = LogSizeMetrics()
        registry.register(self.log_size)

    def observe_lag(self, seconds: float) -> None:
        """Record the lag of one batch."""
        self.lag.observe(seconds)
        self.recent_lags.append(seconds)

"""The metrics of the delivery of frames."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector


class FrameCounts(Collector):
    """What is counted with every message, as plain integers: a ``Counter`` takes a lock and
    some microseconds each time.
    """

    def __init__(self) -> None:
        self.received = 0
        self.delivered = 0
        self.foreign = 0

    def collect(self) -> Iterator[CounterMetricFamily]:
        yield CounterMetricFamily(
            "neverstale_frames_received_total", "Frames from Redis", value=self.received
        )
        yield CounterMetricFamily(
            "neverstale_frames_delivered_total",
            "Live frames written, counted for each connection",
            value=self.delivered,
        )
        yield CounterMetricFamily(
            "neverstale_frames_foreign_total",
            "Messages without a cursor of their channel, which are dropped",
            value=self.foreign,
        )


class FanoutMetrics:
    """Metrics of channels and connections."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.connections = Gauge("neverstale_connections", "Open sockets", registry=registry)
        self.channels = Gauge(
            "neverstale_channels", "Channels subscribed to", registry=registry
        )
        self.frames = FrameCounts()
        registry.register(self.frames)
        self.resets = Counter(
            "neverstale_client_resets_total",
            "Resets sent to clients",
            ["reason"],
            registry=registry,
        )
        self.resumed = Counter(
            "neverstale_channels_resumed_total",
            "Subscriptions resumed from a cursor or an age, without a reset",
            registry=registry,
        )
        self.replayed = Counter(
            "neverstale_frames_replayed_total",
            "Frames written to catch clients up, counted for each connection",
            registry=registry,
        )
        self.reads = Counter(
            "neverstale_log_reads_total", "Channel logs read", registry=registry
        )
        self.slow = Gauge(
            "neverstale_slow_clients", "Clients whose buffer is full now", registry=registry
        )
        self.slow_outcomes = Counter(
            "neverstale_slow_total",
            "Clients whose buffer was full, by outcome",
            ["outcome"],
            registry=registry,
        )

"""The metrics of the delivery of frames."""

from collections.abc import Iterator
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector


class FrameCounts(Collector):
    """What is counted with every message, as plain integers: a ``Counter`` takes a lock and
    some microseconds each time.
    """

    HELP: Final = {
        "received": "Frames from Redis",
        "delivered": "Live frames written, counted for each connection",
        "foreign": "Messages without a cursor of their channel, which are dropped",
    }

    def __init__(self) -> None:
        self.received = 0
        self.delivered = 0
        self.foreign = 0

    def collect(self) -> Iterator[CounterMetricFamily]:
        for name, text in self.HELP.items():
            yield CounterMetricFamily(
                f"neverstale_frames_{name}", text, value=getattr(self, name)
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

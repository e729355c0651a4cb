"""The metrics of a gateway's fan-out, and of its connections to Redis."""

from collections.abc import Iterator
from math import nan

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from shared.runtime.durations import DurationHistogram


class FrameCounts(Collector):
    """What is counted with every message, as plain integers: a ``Counter`` takes a lock and
    some microseconds each time.
    """

    def __init__(self) -> None:
        self.received = 0
        self.delivered = 0
        self.conflated = 0
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
            "neverstale_frames_conflated_total",
            "Live frames left out for a newer one of the same row, counted likewise",
            value=self.conflated,
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
        self.live = Gauge(
            "neverstale_live",
            "1 while a leader ticks and says that it captures all changes",
            registry=registry,
        )
        self.tick_age = Gauge(
            "neverstale_tick_age_seconds", "Since the leader's last tick", registry=registry
        )
        self.frames = FrameCounts()
        registry.register(self.frames)
        self.deliveries = DurationHistogram(
            "neverstale_delivery_seconds",
            "From a change, by the database's clock, until its event was written to its "
            "subscribers; at most 20 times a second",
            registry,
        )
        self.handshakes = DurationHistogram(
            "neverstale_handshake_seconds",
            "From the request of a handshake that was accepted to its first frame",
            registry,
        )
        self.catch_ups = DurationHistogram(
            "neverstale_catch_up_seconds",
            "Catch-up batches, from reading channel logs to the last write",
            registry,
        )
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
        for outcome in ("drained", "closed"):
            self.slow_outcomes.labels(outcome)


class LinkMetrics:
    """Metrics of the connections to Redis."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.linked = Gauge(
            "neverstale_redis_linked", "1 while Redis serves this process", registry=registry
        )
        self.lost = Counter(
            "neverstale_redis_lost_total", "Lost Redis links", registry=registry
        )
        self.round_trips = DurationHistogram(
            "neverstale_redis_round_trip_seconds",
            "From a PING on the subscriber connection, once a second, to its answer",
            registry,
        )
        self.unsent = Gauge(
            "neverstale_redis_output_buffer_bytes",
            "What Redis holds of the subscriber connection, as it says every 5 s",
            registry=registry,
        )
        self.unsent.set(nan)  # not known yet

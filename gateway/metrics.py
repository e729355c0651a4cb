"""What the gateway counts."""

from prometheus_client import CollectorRegistry, Counter, Gauge


class FanoutMetrics:
    """Of channels and their subscribers."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.connections = Gauge("neverstale_connections", "Open sockets", registry=registry)
        self.channels = Gauge(
            "neverstale_channels", "Channels subscribed to", registry=registry
        )
        self.received = Counter(
            "neverstale_frames_received_total", "Frames from Redis", registry=registry
        )
        self.delivered = Counter(
            "neverstale_frames_delivered_total",
            "Frames written, once for each subscriber",
            registry=registry,
        )
        self.resets = Counter(
            "neverstale_client_resets_total",
            "Clients told reconnect",
            ["reason"],
            registry=registry,
        )
        self.resumed = Counter(
            "neverstale_channels_resumed_total",
            "Channels whose subscriber came back and missed nothing",
            registry=registry,
        )
        self.replayed = Counter(
            "neverstale_frames_replayed_total",
            "Frames written from channel logs, once for each subscriber",
            registry=registry,
        )
        self.reads = Counter(
            "neverstale_log_reads_total", "Channel logs read", registry=registry
        )
        self.slow = Gauge(
            "neverstale_slow_clients", "Clients that do not keep up now", registry=registry
        )
        self.were_slow = Counter(
            "neverstale_slow_total",
            "Clients that did not keep up, and how it ended",
            ["outcome"],
            registry=registry,
        )
        self.foreign = Counter(
            "neverstale_frames_foreign_total",
            "Messages on our channels without a cursor",
            registry=registry,
        )

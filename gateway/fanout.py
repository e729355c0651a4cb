"""From Redis to every subscriber: carries out what the registry decides."""

import asyncio
import secrets
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Final, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge

from gateway.connection import Connection
from gateway.core.outbox import join_frames
from gateway.core.registry import (
    Effect,
    Greet,
    Open,
    Registry,
    Reset,
    Subscribe,
    Unsubscribe,
)
from shared.core.channels import Channel, RedisNames
from shared.core.protocol import Reason, cursor_of
from shared.core.replay import Cursor
from shared.redis_link import Client, RedisLost, Script, telling_loss

_OPEN_LUA: Final = (Path(__file__).parent / "lua" / "open.lua").read_text()


class Link(Protocol):
    """What is needed of the subscriber connection."""

    def subscribe(self, names: Sequence[str]) -> None: ...

    def unsubscribe(self, names: Sequence[str]) -> None: ...

    def abort(self) -> None: ...


class FanoutMetrics:
    """What the fan-out counts."""

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
        self.foreign = Counter(
            "neverstale_frames_foreign_total",
            "Messages on our channels without a cursor",
            registry=registry,
        )


class Fanout:
    """All channels and subscribers of this process."""

    def __init__(
        self,
        client: Client,
        names: RedisNames,
        metrics: FanoutMetrics,
        tasks: asyncio.TaskGroup,
        *,
        ttl_seconds: int,
    ) -> None:
        self._client = client
        self._names = names
        self._metrics = metrics
        self._tasks = tasks
        self._ttl_seconds = ttl_seconds
        self._registry: Registry[Connection] = Registry()
        self._link: Link | None = None
        self._open = Script("")
        self._channels: dict[bytes, Channel] = {}

    @property
    def can_subscribe(self) -> bool:
        """Whether a newcomer can go live now: Redis is there, and a leader has ever been."""
        return self._link is not None and self._registry.generation is not None

    def join(self, channel: Channel, connection: Connection) -> None:
        """Make it a subscriber; it is greeted once the channel is live."""
        self._metrics.connections.inc()
        self._do(self._registry.join(channel, connection))

    def leave(self, channel: Channel, connection: Connection) -> None:
        self._metrics.connections.dec()
        self._do(self._registry.leave(channel, connection))

    async def link_up(self, link: Link) -> None:
        """Use this subscriber connection from now on. Raises ``RedisLost``."""
        async with telling_loss():
            self._open = await Script.load(self._client, _OPEN_LUA)
        self._link = link
        self._do(self._registry.link_up())

    def link_lost(self) -> None:
        self._link = None
        self._do(self._registry.link_lost())

    def learn(self, generation: str, reason: Reason) -> None:
        """A tick or the stored state told of this generation."""
        self._do(self._registry.learn(generation, reason))

    def acknowledged(self, names: Sequence[bytes]) -> None:
        """Redis has acknowledged these subscriptions."""
        effects: list[Effect[Connection]] = []
        for name in names:
            if name in self._channels:
                effects += self._registry.acknowledged(self._channels[name])
        self._do(effects)

    def deliver(self, messages: Sequence[tuple[bytes, bytes]]) -> None:
        """Frames that came in one read leave in one write for each subscriber."""
        effects: list[Effect[Connection]] = []
        payloads: dict[bytes, list[bytes]] = {}
        members: dict[bytes, Collection[Connection]] = {}
        for name, payload in messages:
            cursor = cursor_of(payload)
            if cursor is None or self._channels.get(name) != cursor.channel:
                self._metrics.foreign.inc()
                continue
            audience, more = self._registry.received(cursor)
            effects += more
            if audience:
                payloads.setdefault(name, []).append(payload)
                members[name] = audience
        self._metrics.received.inc(len(messages))
        for name, frames in payloads.items():
            joined = join_frames(frames)
            for connection in members[name]:
                connection.write(joined)
            self._metrics.delivered.inc(len(frames) * len(members[name]))
        self._do(effects)

    def _do(self, effects: Iterable[Effect[Connection]]) -> None:
        opens: list[Open] = []
        subscribes: list[str] = []
        for effect in effects:
            match effect:
                case Greet(member, place):
                    member.greet(place)
                case Reset(member, place, cause):
                    member.reset(place, cause)
                    self._metrics.resets.labels(cause.reason).inc()
                case Open():
                    opens.append(effect)
                case Subscribe(channel):
                    name = self._names.channel(channel)
                    self._channels[name.encode()] = channel
                    subscribes.append(name)
                case Unsubscribe(channel):
                    name = self._names.channel(channel)
                    self._channels.pop(name.encode(), None)
                    if self._link is not None:
                        self._link.unsubscribe([name])
        if subscribes and self._link is not None:
            self._link.subscribe(subscribes)
        if opens:
            self._tasks.create_task(self._read_places(opens))
        self._metrics.channels.set(len(self._registry))

    async def _read_places(self, opens: Sequence[Open]) -> None:
        """Open the logs in one round trip.

        A failure is a lost link: all starts over when it is back.
        """
        link = self._link
        try:
            async with telling_loss(), self._client.pipeline(transaction=False) as pipeline:
                for wanted in opens:
                    self._open.queue(
                        pipeline,
                        self._names.log(wanted.channel),
                        wanted.generation,
                        secrets.token_hex(4),
                        self._ttl_seconds,
                    )
                places = await pipeline.execute()
        except RedisLost:
            if link is not None:
                link.abort()
            return
        effects: list[Effect[Connection]] = []
        for wanted, (epoch, offset) in zip(opens, places, strict=True):
            place = Cursor(wanted.channel, epoch.decode(), int(offset))
            effects += self._registry.opened(wanted, place)
        self._do(effects)

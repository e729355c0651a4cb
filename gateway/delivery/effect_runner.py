"""Carries out effects: commands and reads in Redis, frames to clients."""

import asyncio
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, Protocol

from gateway.delivery.channel_logs import ChannelLogs
from gateway.delivery.cursor_reader import CursorReader
from gateway.delivery.effects import (
    ConfirmSubscription,
    Effect,
    GreetSubscriber,
    ReadLogs,
    ResetSubscriber,
    SubscribeChannel,
    UnsubscribeChannel,
    WriteFrames,
)
from gateway.delivery.subscriptions import Subscriptions
from gateway.delivery.tracing import DeliveryTracing
from gateway.metrics import FanoutMetrics
from gateway.transport.channel_frames import ChannelFrames
from gateway.transport.connection import Connection
from shared.links.redis_link import RedisLost
from shared.protocol.channels import RedisNames
from shared.protocol.events import access_change_of

MAX_SPREAD_SECONDS: Final = 30.0


class Link(Protocol):
    """What is used of the subscriber connection to Redis."""

    def subscribe(self, names: Sequence[str]) -> None: ...

    def unsubscribe(self, names: Sequence[str]) -> None: ...

    def abort(self) -> None: ...


class EffectRunner:
    """Carries out what ``Subscriptions`` wants done, in order and without waiting.

    ``link`` is None while Redis is away; ``channels`` are those subscribed to, by their names
    in Redis, each with the reader of its cursors.
    """

    def __init__(
        self,
        subscriptions: Subscriptions[Connection],
        logs: ChannelLogs,
        names: RedisNames,
        metrics: FanoutMetrics,
        tasks: asyncio.TaskGroup,
        *,
        spread_seconds: float,
        tracing: DeliveryTracing | None = None,
    ) -> None:
        self._subscriptions = subscriptions
        self._logs = logs
        self._names = names
        self._metrics = metrics
        self._tasks = tasks
        self._spread_seconds = spread_seconds
        self._tracing = tracing
        self._channels: dict[bytes, CursorReader] = {}
        self.channels: Mapping[bytes, CursorReader] = self._channels
        self.link: Link | None = None
        metrics.channels.set_function(lambda: subscriptions.channel_count)
        metrics.connections.set_function(lambda: len(subscriptions.subscribers))

    def run(self, effects: Iterable[Effect[Connection]]) -> None:
        """Carry them out; channels are subscribed to in one command."""
        subscribes: list[str] = []
        replays = _Replays()
        for effect in effects:
            match effect:
                case ReadLogs():
                    self._tasks.create_task(self._read(effect))
                case SubscribeChannel(channel):
                    name = self._names.channel(channel)
                    self._channels[name.encode()] = CursorReader(channel)
                    subscribes.append(name)
                case UnsubscribeChannel(channel):
                    name = self._names.channel(channel)
                    self._channels.pop(name.encode(), None)
                    if self.link is not None:
                        self.link.unsubscribe([name])
                case WriteFrames():
                    self._metrics.replayed.inc(len(effect.payloads))
                    replays.write(effect)
                case _:
                    self._announce(effect)
        if subscribes and self.link is not None:
            self.link.subscribe(subscribes)

    async def _read(self, read: ReadLogs) -> None:
        """Read the logs of a batch. If that fails the link is lost, and all channels are read
        again once it is back.
        """
        link, begun = self.link, time.perf_counter()
        self._metrics.reads.inc(len(read.wanted))
        try:
            pages = await self._logs.read(read)
        except RedisLost:
            if link is not None:
                link.abort()
        else:
            effects = self._subscriptions.batch_read(read.batch, pages)
            self.run(effects)
            self._metrics.catch_ups.observe(time.perf_counter() - begun)
            if self._tracing is not None:
                self._tracing.record_replay(effects, begun)

    def _announce(
        self,
        effect: GreetSubscriber[Connection]
        | ConfirmSubscription[Connection]
        | ResetSubscriber[Connection],
    ) -> None:
        match effect:
            case GreetSubscriber(connection, cursors, resumed):
                if resumed:
                    self._metrics.resumed.inc(len(resumed))
                connection.greet(cursors, resumed)
                self._metrics.handshakes.observe(connection.age_seconds)
            case ConfirmSubscription(connection, cursor, resumed=is_resumed):
                self._metrics.resumed.inc(is_resumed)
                connection.confirm_subscription(cursor, resumed=is_resumed)
            case ResetSubscriber():
                self._reset(effect)

    def _reset(self, reset: ResetSubscriber[Connection]) -> None:
        self._metrics.resets.labels(reset.reason).inc()
        channel = reset.cursors[0].channel
        is_of_project = not reset.everything and channel.kind == "project"
        spread_seconds = self._spread_seconds * len(self._subscriptions.subscribers) / 1000
        reset.subscriber.reset(
            reset.cursors,
            reset.reason,
            project_id=channel.id if is_of_project else None,
            spread_seconds=min(MAX_SPREAD_SECONDS, spread_seconds),
        )


class _Replays:
    """Writes replays. What several clients missed is built, and decoded, once for all."""

    def __init__(self) -> None:
        self._frames: dict[tuple[bytes, ...], ChannelFrames] = {}
        self._access_changes: dict[tuple[bytes, ...], list[str]] = {}

    def write(self, effect: WriteFrames[Connection]) -> None:
        connection, payloads = effect.subscriber, tuple(effect.payloads)
        if payloads not in self._frames:
            self._frames[payloads] = ChannelFrames(effect.channel, payloads)
        if effect.by_client:
            connection.charge_replay(len(payloads))
        connection.deliver(self._frames[payloads])
        if effect.channel.kind == "user":
            connection.send_access_changes(self._access_changes_in(payloads))

    def _access_changes_in(self, payloads: tuple[bytes, ...]) -> Iterator[str]:
        """Decode the frames, but only when the first project is asked for."""
        if payloads not in self._access_changes:
            changes = map(access_change_of, payloads)
            self._access_changes[payloads] = [
                change[0] for change in changes if change is not None and change[1]
            ]
        yield from self._access_changes[payloads]

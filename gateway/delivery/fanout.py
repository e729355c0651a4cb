"""Routes messages from Redis to the connections that are subscribed to their channels."""

import asyncio
import time
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Final, Optional

from gateway.delivery.channel_logs import ChannelLogs
from gateway.delivery.cluster_channels import ClusterChannels
from gateway.delivery.database_clock import DatabaseClock
from gateway.delivery.effect_runner import EffectRunner, Link
from gateway.delivery.effects import Effect
from gateway.delivery.liveness import (
    CLUSTER_MISSING_SECONDS,
    MISSING_SECONDS,
    Liveness,
)
from gateway.delivery.project_subscriptions import ProjectSubscriptions
from gateway.delivery.slow_consumers import SlowConsumers
from gateway.delivery.status_notifier import StatusNotifier
from gateway.delivery.subscriptions import Subscriptions
from gateway.delivery.top_channels import TopChannels
from gateway.delivery.tracing import DeliveryTracing
from gateway.delivery.writes import split_messages
from gateway.metrics import FanoutMetrics
from gateway.transport.channel_frames import ChannelFrames
from gateway.transport.connection import Connection
from shared.protocol.channels import Channel, RedisNames
from shared.protocol.control_messages import Recheck, Tick
from shared.protocol.events import Reason, access_change_of, changed_at, row_of
from shared.protocol.replay import Loaded, Since

if TYPE_CHECKING:
    from shared.runtime.spans import Spans

MAX_ARRIVALS: Final = 512
MEASURE_SECONDS: Final = 0.05


class _Delivery:
    """What some messages hold for the live subscribers of one channel.

    ``projects`` holds those of a user's channel by their project. ``access_changes`` are the
    projects to which the recipients may have gained or lost access.
    """

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.recipients: Collection[Connection] = ()
        self.payloads: list[bytes] = []
        self.projects: list[tuple[str, bytes]] = []
        self.access_changes: list[str] = []

    @cached_property
    def rows(self) -> Collection[bytes]:
        """The rows of the payloads, once these are complete."""
        return set(map(row_of, self.payloads))


class Fanout:
    """All channels and connections of this process.

    ``arrivals`` samples deliveries for the status: the offset of the last message of each read,
    and when it had been written, by the loop's clock.
    """

    def __init__(
        self,
        logs: ChannelLogs,
        names: RedisNames,
        metrics: FanoutMetrics,
        tasks: asyncio.TaskGroup,
        *,
        spread_seconds: float,
        slow_seconds: float,
        cluster: ClusterChannels | None = None,
        spans: Optional["Spans"] = None,
    ) -> None:
        self._logs = logs
        self._names = names
        self._is_cluster = cluster is not None
        self._metrics = metrics
        self._subscriptions: Subscriptions[Connection] = (
            Subscriptions(cluster.generation_of) if cluster else Subscriptions()
        )
        self._database_clock = DatabaseClock()
        self._tracing = DeliveryTracing(spans, self._database_clock) if spans else None
        self._effects = EffectRunner(
            self._subscriptions,
            logs,
            names,
            metrics,
            tasks,
            spread_seconds=spread_seconds,
            tracing=self._tracing,
        )
        self._liveness = Liveness(
            asyncio.get_running_loop().time(),
            missing_seconds=CLUSTER_MISSING_SECONDS if cluster else MISSING_SECONDS,
        )
        self._measures = True  # how long the next event took
        self._status_notifier = StatusNotifier(self._subscriptions, self._liveness)
        self._slow_consumers = SlowConsumers(
            self._subscriptions, self._effects.run, metrics, slow_seconds=slow_seconds
        )
        self.top_channels = TopChannels(
            lambda: self._subscriptions.channels, self._subscriptions.subscriber_count
        )
        self.arrivals: deque[tuple[int, float]] = deque(maxlen=MAX_ARRIVALS)
        self._last_offset = 0  # of the last message that was delivered
        self._on_backpressure = self._slow_consumers.add  # one bound method for all connections
        metrics.live.set_function(lambda: self.is_live)
        metrics.tick_age.set_function(self._tick_age)
        self.project_subscriptions = ProjectSubscriptions(
            self._subscriptions, self._effects.run
        )

    async def run(self) -> None:
        """Follow liveness and slow consumers. Never returns."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._status_notifier.run())
            tasks.create_task(self._slow_consumers.run())

    @property
    def connection_count(self) -> int:
        return len(self._subscriptions.subscribers)

    @property
    def channel_count(self) -> int:
        return self._subscriptions.channel_count

    @property
    def can_subscribe(self) -> bool:
        """Whether a new connection can go live: Redis is reachable, and a generation known."""
        return self._effects.link is not None and self._subscriptions.generation is not None

    @property
    def is_live(self) -> bool:
        """Whether a leader ticks and says that it captures all changes."""
        return self._liveness.is_live(asyncio.get_running_loop().time())

    def _tick_age(self) -> float:
        return self._liveness.tick_age(asyncio.get_running_loop().time())

    def loaded(self, age_seconds: float) -> Loaded | None:
        """Up to when a page of that age is complete; None if no tick proves it.

        In a cluster none does: ticks and channel logs have the clocks of different nodes.
        """
        if self._is_cluster:
            return None
        return self._liveness.loaded(age_seconds, asyncio.get_running_loop().time())

    def join(self, connection: Connection, wanted: Mapping[Channel, Since]) -> None:
        """Subscribe a new connection. It is greeted once its channels were read."""
        connection.on_backpressure = self._on_backpressure
        wanted = {
            self._subscriptions.known(channel): since for channel, since in wanted.items()
        }
        for channel in wanted:
            self.project_subscriptions.add(connection, channel)
        self._effects.run(self._subscriptions.join(connection, wanted))

    def leave(self, connection: Connection) -> None:
        """Forget a connection that has ended."""
        connection.on_backpressure = None
        self._slow_consumers.discard(connection)
        for channel in self._subscriptions.channels_of(connection):
            self.project_subscriptions.discard(connection, channel)
        self._effects.run(self._subscriptions.leave(connection))

    def subscribe(self, connection: Connection, channel: Channel, since: Since) -> None:
        """Add a channel. The client gets an answer once it was read."""
        channel = self._subscriptions.known(channel)
        self.project_subscriptions.add(connection, channel)
        self._effects.run(self._subscriptions.subscribe(connection, channel, since))

    def unsubscribe(self, connection: Connection, channel: Channel) -> None:
        self.project_subscriptions.discard(connection, channel)
        self._effects.run(self._subscriptions.unsubscribe(connection, channel))

    def channels_of(self, connection: Connection) -> Collection[Channel]:
        return self._subscriptions.channels_of(connection)

    async def link_up(self, link: Link) -> None:
        """Use this subscriber connection from now on. Raises ``RedisLost``."""
        await self._logs.prepare()
        self._effects.link = link
        self._effects.run(self._subscriptions.link_up())

    def link_lost(self) -> None:
        self._effects.link = None
        self._subscriptions.link_lost()

    def acknowledge(self, names: Sequence[bytes]) -> None:
        """Redis has acknowledged the subscriptions to these channels."""
        self._effects.run(self._subscriptions.acknowledge(*self._known(names)))

    def lose(self, names: Sequence[bytes]) -> None:
        """Messages of these channels may be missed until they are acknowledged again."""
        self._subscriptions.lose(self._known(names))

    def _known(self, names: Sequence[bytes]) -> list[Channel]:
        known = self._effects.channels
        return [known[name].channel for name in names if name in known]

    def receive_tick(self, tick: Tick) -> bool:
        """Take the leader's tick. Returns whether rechecks may have been missed before it."""
        now = asyncio.get_running_loop().time()
        was_silent = self._liveness.is_missing(now)
        is_new = self.learn_generation(tick.generation, tick.reason)
        if tick.database_at is not None:
            self._database_clock.record(tick.database_at, time.perf_counter())
        self._liveness.record(tick, now)
        return was_silent or is_new

    def learn_generation(self, generation: str, reason: Reason) -> bool:
        """Take the generation of a tick or of the stored state. Returns whether it is new."""
        is_new = generation != self._subscriptions.generation
        if is_new:
            self._liveness.forget()
            self._database_clock.forget()
        self._effects.run(self._subscriptions.learn_generation(generation, reason))
        return is_new

    def deliver(self, messages: Sequence[tuple[bytes, bytes]]) -> list[Recheck]:
        """Deliver messages that arrived in one read, in few writes to each connection.

        Returns the access to check again, because users' own channels mention it.
        """
        if self._tracing is not None:
            self._tracing.receive()
        rechecks: dict[Recheck, None] = {}
        before = self._last_offset
        for chunk in split_messages(messages):
            self._deliver_chunk(chunk, rechecks)
        if self._last_offset != before:
            now = asyncio.get_running_loop().time()
            self.arrivals.append((self._last_offset, now))
        return list(rechecks)

    def _deliver_chunk(
        self, messages: Sequence[tuple[bytes, bytes]], rechecks: dict[Recheck, None]
    ) -> None:
        channels, counts = self._effects.channels, self._metrics.frames
        effects: list[Effect[Connection]] = []
        deliveries: dict[bytes, _Delivery] = {}
        for name, payload in messages:
            reader, change = channels.get(name), None
            if reader is not None and reader.channel.kind == "user":
                change = access_change_of(payload)
                if change is not None:
                    rechecks[Recheck(change[0], reader.channel.id)] = None
            cursor = reader.read(payload) if reader is not None else None
            if cursor is None:
                counts.foreign += 1
                continue
            self._last_offset = cursor.offset
            recipients, more = self._subscriptions.receive(cursor, payload)
            effects += more
            if recipients:
                delivery = deliveries.get(name)
                if delivery is None:
                    delivery = deliveries[name] = _Delivery(cursor.channel)
                delivery.recipients = recipients
                delivery.payloads.append(payload)
                if change is not None:
                    delivery.projects.append((change[0], payload))
                    if change[1]:
                        delivery.access_changes.append(change[0])
        counts.received += len(messages)
        self._write(deliveries)
        if effects:
            self._effects.run(effects)

    def _write(self, deliveries: Mapping[bytes, _Delivery]) -> None:
        # Snapshot the recipients of all channels: a connection whose buffer fills on the way
        # is no longer live, but still gets the rest.
        for delivery in deliveries.values():
            delivery.recipients = dict.fromkeys(delivery.recipients)
        counts = self._metrics.frames
        for delivery in deliveries.values():
            frames = ChannelFrames(delivery.channel, delivery.payloads)
            count = len(delivery.recipients)
            kept = len(frames.payloads)
            counts.conflated += (len(delivery.payloads) - kept) * count
            repeated = self._repeated(delivery, deliveries) if delivery.projects else {}
            for connection in delivery.recipients:
                if repeated and not connection.RESUMES:
                    self._write_once(connection, delivery, repeated)
                else:
                    connection.deliver(frames)
                if delivery.access_changes:
                    connection.send_access_changes(delivery.access_changes)
            counts.delivered += kept * count
        if self._measures and deliveries:
            self._measure(next(iter(deliveries.values())).payloads[0])
        if self._tracing is not None:
            self._tracing.record_live(
                (one.channel, one.payloads, len(one.recipients)) for one in deliveries.values()
            )

    def _measure(self, frame: bytes) -> None:
        """Note how long an event took that has just been written; a reset has no time.

        That costs as much as a write, so a busy gateway does it every ``MEASURE_SECONDS``.
        """
        now, at = self._database_clock.read(time.perf_counter()), changed_at(frame)
        if now is not None and at is not None:
            self._metrics.deliveries.observe(now - at)
            self._measures = False
            asyncio.get_running_loop().call_later(MEASURE_SECONDS, self._measure_next)

    def _measure_next(self) -> None:
        self._measures = True

    def _repeated(
        self, delivery: _Delivery, deliveries: Mapping[bytes, _Delivery]
    ) -> Mapping[bytes, _Delivery]:
        """The payloads of a user's channel that the same chunk holds on their project's channel
        too, with what that channel delivers.
        """
        repeated = {}
        for project_id, payload in delivery.projects:
            name = self._names.channel(Channel("project", project_id)).encode()
            other = deliveries.get(name)
            if other is not None and row_of(payload) in other.rows:
                repeated[payload] = other
        return repeated

    def _write_once(
        self, connection: Connection, delivery: _Delivery, repeated: Mapping[bytes, _Delivery]
    ) -> None:
        """Write what the client does not get on the project's channel: a client that keeps no
        cursors would fetch twice for nothing.
        """
        payloads = [
            payload
            for payload in delivery.payloads
            if payload not in repeated or connection not in repeated[payload].recipients
        ]
        if payloads:
            connection.deliver(ChannelFrames(delivery.channel, payloads))

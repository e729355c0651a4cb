"""From Redis to every subscriber: carries out what the registry decides."""

import asyncio
import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final, Protocol

from gateway.delivery.channel_logs import ChannelLogs
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
from gateway.delivery.liveness import Liveness
from gateway.delivery.project_subscriptions import ProjectSubscriptions
from gateway.delivery.subscriptions import Subscriptions
from gateway.delivery.writes import join_frames, split_messages
from gateway.metrics import FanoutMetrics
from gateway.transport.connection import DRAIN_POLL_SECONDS, Connection
from shared.links.redis_link import RedisLost
from shared.protocol.channels import Channel, RedisNames
from shared.protocol.close_codes import CloseCode
from shared.protocol.control_messages import Recheck, Tick
from shared.protocol.events import Reason, access_change_of, cursor_of
from shared.protocol.replay import Loaded, Since

STATUS_SECONDS: Final = 0.5
MAX_SPREAD_SECONDS: Final = 30.0


class Link(Protocol):
    """What is needed of the subscriber connection."""

    def subscribe(self, names: Sequence[str]) -> None: ...

    def unsubscribe(self, names: Sequence[str]) -> None: ...

    def abort(self) -> None: ...


class Fanout:
    """All channels and subscribers of this process."""

    def __init__(
        self,
        logs: ChannelLogs,
        names: RedisNames,
        metrics: FanoutMetrics,
        tasks: asyncio.TaskGroup,
        *,
        spread_seconds: float,
        slow_seconds: float,
    ) -> None:
        self._logs = logs
        self._names = names
        self._metrics = metrics
        self._tasks = tasks
        self._spread_seconds = spread_seconds
        self._slow_seconds = slow_seconds
        self._registry: Subscriptions[Connection] = Subscriptions()
        self._ticks = Liveness(asyncio.get_running_loop().time())
        self._link: Link | None = None
        self._channels: dict[bytes, Channel] = {}
        self._connections: dict[str, set[Connection]] = {}  # by user
        self.project_subscriptions = ProjectSubscriptions(self._registry, self._do)
        self._count = 0
        self._slow: dict[Connection, float] = {}
        self._some_slow = asyncio.Event()

    @property
    def can_subscribe(self) -> bool:
        """Whether a newcomer can go live now: Redis is there, and a leader has ever been."""
        return self._link is not None and self._registry.generation is not None

    @property
    def is_live(self) -> bool:
        """Whether a leader says that nothing is being missed."""
        return self._ticks.is_live(asyncio.get_running_loop().time())

    def loaded(self, age_seconds: float) -> Loaded | None:
        """What a page of that age is complete up to, if the ticks can tell."""
        return self._ticks.loaded(age_seconds, asyncio.get_running_loop().time())

    def join(self, connection: Connection, wanted: Mapping[Channel, Since]) -> None:
        """Make it a subscriber; it is greeted once its channels are live."""
        self._metrics.connections.inc()
        self._count += 1
        self._connections.setdefault(connection.user_id, set()).add(connection)
        connection.on_backpressure = self._too_much
        for channel in wanted:
            self.project_subscriptions.add(connection, channel)
        self._do(self._registry.join(connection, wanted))

    def leave(self, connection: Connection) -> None:
        self._metrics.connections.dec()
        self._count -= 1
        of_user = self._connections[connection.user_id]
        of_user.discard(connection)
        if not of_user:
            del self._connections[connection.user_id]
        connection.on_backpressure = None
        self._slow.pop(connection, None)
        for channel in self._registry.channels_of(connection):
            self.project_subscriptions.discard(connection, channel)
        self._do(self._registry.leave(connection))

    def subscribe(self, connection: Connection, channel: Channel, since: Since) -> None:
        """One more channel; it is answered once that is live."""
        self.project_subscriptions.add(connection, channel)
        self._do(self._registry.subscribe(connection, channel, since))

    def unsubscribe(self, connection: Connection, channel: Channel) -> None:
        self.project_subscriptions.discard(connection, channel)
        self._do(self._registry.unsubscribe(connection, channel))

    def channels_of(self, connection: Connection) -> Collection[Channel]:
        return self._registry.channels_of(connection)

    async def link_up(self, link: Link) -> None:
        """Use this subscriber connection from now on. Raises ``RedisLost``."""
        await self._logs.prepare()
        self._link = link
        self._do(self._registry.link_up())

    def link_lost(self) -> None:
        self._link = None
        self._registry.link_lost()

    def receive_tick(self, tick: Tick) -> bool:
        """The leader ticked; whether rechecks may have been missed before it."""
        now = asyncio.get_running_loop().time()
        was_silent = self._ticks.is_missing(now)
        is_new = self.learn_generation(tick.generation, tick.reason)
        self._ticks.record(tick, now)
        return was_silent or is_new

    def learn_generation(self, generation: str, reason: Reason) -> bool:
        """A tick or the stored state told of this generation; whether it is another one."""
        is_new = generation != self._registry.generation
        if is_new:
            self._ticks.forget()
        self._do(self._registry.learn_generation(generation, reason))
        return is_new

    def acknowledged(self, names: Sequence[bytes]) -> None:
        """Redis has acknowledged these subscriptions."""
        channels = [self._channels[name] for name in names if name in self._channels]
        self._do(self._registry.acknowledged(*channels))

    def deliver(self, messages: Sequence[tuple[bytes, bytes]]) -> list[Recheck]:
        """Frames that came in one read leave in few writes for each subscriber.

        Returns which access users' own frames make doubtful.
        """
        for piece in split_messages(messages):
            self._deliver_piece(piece)
        return self._follow_own(messages)

    def _deliver_piece(self, messages: Sequence[tuple[bytes, bytes]]) -> None:
        effects: list[Effect[Connection]] = []
        payloads: dict[bytes, list[bytes]] = {}
        members: dict[bytes, Collection[Connection]] = {}
        for name, payload in messages:
            cursor = cursor_of(payload)
            if cursor is None or self._channels.get(name) != cursor.channel:
                self._metrics.foreign.inc()
                continue
            audience, more = self._registry.received(cursor, payload)
            effects += more
            if audience:
                payloads.setdefault(name, []).append(payload)
                members[name] = audience
        self._metrics.received.inc(len(messages))
        # who fills up on the way leaves all audiences, but what is left was meant for it too
        audiences = {name: list(members[name]) for name in payloads}
        for name, frames in payloads.items():
            joined = join_frames(frames)
            is_of_user = self._channels[name].kind == "user"
            for connection in audiences[name]:
                connection.write(joined)
                if is_of_user:
                    connection.send_access_changes(frames)
            self._metrics.delivered.inc(len(frames) * len(audiences[name]))
        self._do(effects)

    def _follow_own(self, messages: Sequence[tuple[bytes, bytes]]) -> list[Recheck]:
        """What frames of users' own channels mean for their projects."""
        rechecks: dict[Recheck, None] = {}
        for name, payload in messages:
            channel = self._channels.get(name)
            if channel is not None and channel.kind == "user":
                named = access_change_of(payload)
                if named is not None:
                    rechecks[Recheck(named[0], channel.id)] = None
        return list(rechecks)

    async def run(self) -> None:
        """Follow liveness and slow consumers. Never returns."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._report_liveness())
            tasks.create_task(self._watch_slow_consumers())

    async def _report_liveness(self) -> None:
        """Tell v1 clients when changes are not told as they happen, and when they are again.

        Never returns.
        """
        while True:
            await asyncio.sleep(STATUS_SECONDS)
            live = self.is_live
            is_silent = self._ticks.is_missing(asyncio.get_running_loop().time())
            for connection in itertools.chain(*self._connections.values()):
                # rechecks may be missed too: it is asked anew at the next tick
                if is_silent and connection.greeted.is_set():
                    for channel in self._registry.channels_of(connection):
                        if channel.kind == "project":
                            self._registry.suspend(connection, channel)
                # after its greeting; back only once all that it missed was told
                if (
                    connection.greeted.is_set()
                    and connection.reported_live != live
                    and (not live or self._registry.is_caught_up(connection))
                ):
                    connection.report_liveness(live=live)

    async def _watch_slow_consumers(self) -> None:
        """Catch up who has drained, and give up who does not. Never returns."""
        loop = asyncio.get_running_loop()
        while True:
            await self._some_slow.wait()
            for connection, deadline in list(self._slow.items()):
                if connection.is_drained:
                    del self._slow[connection]
                    self._metrics.were_slow.labels("drained").inc()
                    self._do(self._registry.drained(connection))
                elif loop.time() > deadline:
                    del self._slow[connection]
                    self._metrics.were_slow.labels("closed").inc()
                    connection.end(CloseCode.TOO_SLOW, "too slow")
            self._metrics.slow.set(len(self._slow))
            if not self._slow:
                self._some_slow.clear()
            await asyncio.sleep(DRAIN_POLL_SECONDS)

    def _too_much(self, connection: Connection) -> None:
        """Queue nothing more for it: what it misses from now on it is told when it has
        drained.
        """
        if connection not in self._slow:
            self._slow[connection] = asyncio.get_running_loop().time() + self._slow_seconds
            self._some_slow.set()
            self._registry.slow(connection)

    def _do(self, effects: Iterable[Effect[Connection]]) -> None:
        subscribes: list[str] = []
        joined: dict[tuple[bytes, ...], bytes] = {}
        for effect in effects:
            match effect:
                case ReadLogs():
                    self._tasks.create_task(self._read(effect))
                case SubscribeChannel(channel):
                    name = self._names.channel(channel)
                    self._channels[name.encode()] = channel
                    subscribes.append(name)
                case UnsubscribeChannel(channel):
                    name = self._names.channel(channel)
                    self._channels.pop(name.encode(), None)
                    if self._link is not None:
                        self._link.unsubscribe([name])
                case WriteFrames(member, payloads, by_client):
                    key = tuple(payloads)
                    if key not in joined:
                        joined[key] = join_frames(payloads)
                    self._metrics.replayed.inc(len(payloads))
                    if by_client:
                        member.charge_replay(len(payloads))
                    member.write(joined[key])
                    member.send_access_changes(payloads)
                case _:
                    self._announce(effect)
        if subscribes and self._link is not None:
            self._link.subscribe(subscribes)
        self._metrics.channels.set(len(self._registry))

    def _announce(
        self,
        effect: GreetSubscriber[Connection]
        | ConfirmSubscription[Connection]
        | ResetSubscriber[Connection],
    ) -> None:
        match effect:
            case GreetSubscriber(member, places, resumed):
                self._metrics.resumed.inc(len(resumed))
                member.greet(places, resumed)
            case ConfirmSubscription(member, place, resumed=is_resumed):
                self._metrics.resumed.inc(is_resumed)
                member.confirm_subscription(place, resumed=is_resumed)
            case ResetSubscriber():
                self._reset(effect)

    def _reset(self, reset: ResetSubscriber[Connection]) -> None:
        self._metrics.resets.labels(reset.reason).inc()
        channel = reset.places[0].channel
        is_of_project = not reset.everything and channel.kind == "project"
        reset.member.reset(
            reset.places,
            reset.reason,
            project_id=channel.id if is_of_project else None,
            spread_seconds=min(MAX_SPREAD_SECONDS, self._spread_seconds * self._count / 1000),
        )

    async def _read(self, read: ReadLogs) -> None:
        """A failure is a lost link: all starts over when it is back."""
        link = self._link
        self._metrics.reads.inc(len(read.wanted))
        try:
            answers = await self._logs.read(read)
        except RedisLost:
            if link is not None:
                link.abort()
        else:
            self._do(self._registry.answered(read.round, answers))

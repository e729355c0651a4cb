"""Decides which subscriber gets which frames of which channel, and in which order.

A subscription is one subscriber's interest in one channel. It has three states:

``catching_up``
    The client may have missed frames since a cursor of its own, or has no cursor yet. It gets
    no live frames.
``live``
    The client gets each frame as it arrives.
``suspended``
    Catching up, but the user's access is being checked: nothing is sent until that is known.

=============================  =======================================  ===============
from                           event                                    to
=============================  =======================================  ===============
(none)                         ``join``, ``subscribe``                  ``catching_up``
``catching_up``                a batch delivered all that was missed    ``live``
``live``                       ``link_lost``, ``lose``, ``mark_slow``,  ``catching_up``
                               another generation in
                               ``learn_generation`` or in a frame of
                               the channel
``catching_up``, ``live``      ``suspend``                              ``suspended``
``suspended``                  ``resume``                               ``catching_up``
any                            ``subscribe`` again                      ``catching_up``
any                            ``unsubscribe``, ``leave``               (none)
=============================  =======================================  ===============

The only way to ``live`` is a catch-up batch. It reads the logs of all channels that
subscribers wait for in one round trip, and compares each subscription's cursor with what was
read: the client gets the rows that it missed, or a reset if the log does not prove that these
are all. At most one batch is in flight, so subscribers that wait for the same channel share
its read, and what a subscriber has to know about several channels (its greeting, a reset of
everything) fits in one frame. For that a subscriber takes part in a batch with all its
channels that are catching up, and not while one of them is suspended, while Redis has yet to
acknowledge one, or while its buffer is full.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Generic

from gateway.delivery.catch_up import CatchUpBatch, Missed, announce, plan_batch, plan_writes
from gateway.delivery.effects import (
    Effect,
    LogPage,
    ReadLogs,
    SubscribeChannel,
    Subscriber,
    UnsubscribeChannel,
    WriteFrames,
)
from gateway.delivery.subscription_state import CatchUp, ChannelState, SubscriberState
from shared.protocol.channels import Channel
from shared.protocol.events import Reason
from shared.protocol.replay import Cursor, Since


class Subscriptions(Generic[Subscriber]):
    """All subscriptions of one gateway.

    Methods return the effects of what happened, in the order in which to carry them out.

    *generation_of*: the generation in a channel's cursors, given that of everything. In a
    cluster it depends on who serves the channel.
    """

    def __init__(
        self,
        generation_of: Callable[[str, Channel], str] = lambda generation, _: generation,
    ) -> None:
        self.generation: str | None = None
        self._generation_of = generation_of
        self._linked = False
        self._channels: dict[Channel, ChannelState[Subscriber]] = {}
        self._subscribers: dict[Subscriber, SubscriberState] = {}
        self._waiting: dict[Subscriber, None] = {}  # ready for a batch, in this order
        self._batch: CatchUpBatch[Subscriber] | None = None
        self._batch_count = 0

    @property
    def channel_count(self) -> int:
        return len(self._channels)

    @property
    def channels(self) -> Collection[Channel]:
        return self._channels.keys()

    def subscriber_count(self, channel: Channel) -> int:
        state = self._channels.get(channel)
        return len(state.subscribers) if state else 0

    @property
    def subscribers(self) -> Collection[Subscriber]:
        return self._subscribers.keys()

    def known(self, channel: Channel) -> Channel:
        """The same channel, as the object that the other subscribers keep, if there are any."""
        channel_state = self._channels.get(channel)
        return channel if channel_state is None else channel_state.channel

    def is_caught_up(self, subscriber: Subscriber) -> bool:
        """Whether the subscriber is live in all its channels."""
        state = self._subscribers.get(subscriber)
        return state is not None and not state.not_live

    def find_unacknowledged(self) -> list[Subscriber]:
        """Return the subscribers with a channel that Redis has not acknowledged."""
        return [one for one, state in self._subscribers.items() if state.unacknowledged]

    def channels_of(self, subscriber: Subscriber) -> Collection[Channel]:
        state = self._subscribers.get(subscriber)
        return state.channels if state else ()

    def join(
        self, subscriber: Subscriber, wanted: Mapping[Channel, Since]
    ) -> list[Effect[Subscriber]]:
        """Add a subscriber. It is greeted once the logs of all its channels were read."""
        self._subscribers[subscriber] = SubscriberState()
        effects: list[Effect[Subscriber]] = []
        for channel, since in wanted.items():
            effects += self._add(subscriber, channel, CatchUp(since, by_client=True))
        return effects + self._start_batch()

    def subscribe(
        self, subscriber: Subscriber, channel: Channel, since: Since
    ) -> list[Effect[Subscriber]]:
        """Add a channel, or catch it up from *since* again; either is confirmed."""
        if subscriber not in self._subscribers:
            return []
        catch_up = CatchUp(since, unconfirmed=True, by_client=True)
        effects = self._add(subscriber, channel, catch_up)
        return effects + self._start_batch()

    def unsubscribe(self, subscriber: Subscriber, channel: Channel) -> list[Effect[Subscriber]]:
        """Remove the subscription, and the channel if that was its last."""
        state = self._subscribers.get(subscriber)
        if state is None or channel not in state.channels:
            return []
        channel_state = self._channels[channel]
        state.remove(channel)
        state.unacknowledged -= not channel_state.acknowledged
        self._update_waiting(subscriber, state)
        channel_state.remove(subscriber)
        effects: list[Effect[Subscriber]] = []
        if not channel_state.subscribers:
            del self._channels[channel]
            if self._batch is not None:
                # A later subscriber subscribes to it in Redis again: what this batch reads may
                # be older than that.
                self._batch.wanted.pop(channel, None)
            effects = [UnsubscribeChannel(channel)]
        return effects + self._start_batch()

    def leave(self, subscriber: Subscriber) -> list[Effect[Subscriber]]:
        """Remove the subscriber with all its subscriptions."""
        effects: list[Effect[Subscriber]] = []
        for channel in list(self.channels_of(subscriber)):
            effects += self.unsubscribe(subscriber, channel)
        self._subscribers.pop(subscriber, None)
        self._waiting.pop(subscriber, None)
        return effects

    def link_up(self) -> list[Effect[Subscriber]]:
        """The subscriber connection to Redis is up: subscribe to all channels."""
        self._linked = True
        self._update_generations()
        return [SubscribeChannel(channel) for channel in self._channels]

    def link_lost(self) -> None:
        """The subscriber connection is lost: what is published from now on is missed, and the
        batch in flight is void.
        """
        self._linked = False
        self._batch = None
        self._lose(self._channels)

    def lose(self, channels: Collection[Channel]) -> None:
        """Messages of these channels may be missed until Redis acknowledges them again, perhaps
        on another node.
        """
        known = [channel for channel in channels if channel in self._channels]
        if self._batch is not None:
            for channel in known:
                self._batch.wanted.pop(channel, None)
        self._lose(known)

    def _lose(self, channels: Collection[Channel]) -> None:
        for channel in channels:
            channel_state = self._channels[channel]
            channel_state.generation = self._channel_generation(channel)
            if channel_state.acknowledged:
                channel_state.acknowledged = False
                for subscriber in channel_state.subscribers:
                    state = self._subscribers[subscriber]
                    state.unacknowledged += 1
                    self._update_waiting(subscriber, state)
            self._end_live(channel, channel_state, channel_state.cursor)

    def _channel_generation(self, channel: Channel) -> str:
        return self._generation_of(self.generation, channel) if self.generation else ""

    def _update_generations(self) -> None:
        for channel, channel_state in self._channels.items():
            channel_state.generation = self._channel_generation(channel)

    def acknowledge(self, *channels: Channel) -> list[Effect[Subscriber]]:
        """Redis has acknowledged these: no frame of theirs that is published from now on is
        missed.
        """
        for channel in channels:
            channel_state = self._channels.get(channel)
            if channel_state is not None and not channel_state.acknowledged:
                channel_state.acknowledged = True
                for subscriber in channel_state.subscribers:
                    state = self._subscribers[subscriber]
                    state.unacknowledged -= 1
                    self._update_waiting(subscriber, state)
        return self._start_batch()

    def learn_generation(self, generation: str, reason: Reason) -> list[Effect[Subscriber]]:
        """Take the generation of a tick or of the stored state.

        A new one resets everything, and voids the batch in flight. Cursors of the old one may
        stay: no log of the new one has their epoch, so each is a gap.
        """
        if generation == self.generation:
            return []
        self.generation = generation
        self._batch = None
        self._update_generations()
        for channel, channel_state in self._channels.items():
            self._end_live(channel, channel_state, None)
        for state in self._subscribers.values():
            state.pending_reset = reason if state.greeted else None
        return self._start_batch()

    def mark_slow(self, subscriber: Subscriber) -> None:
        """Send the subscriber nothing until ``mark_drained``: its buffer is full."""
        state = self._subscribers.get(subscriber)
        if state is None:
            return
        state.slow = True
        self._update_waiting(subscriber, state)
        for channel in state.channels:
            channel_state = self._channels[channel]
            if channel_state.subscribers[subscriber]:
                catch_up = CatchUp(channel_state.cursor, "lagged")
                self._set_catching_up(subscriber, channel, channel_state, catch_up)

    def mark_drained(self, subscriber: Subscriber) -> list[Effect[Subscriber]]:
        """The subscriber's buffer has room again: catch it up."""
        state = self._subscribers.get(subscriber)
        if state is not None:
            state.slow = False
            self._update_waiting(subscriber, state)
        return self._start_batch()

    def suspend(self, subscriber: Subscriber, channel: Channel) -> None:
        """Send nothing of the channel until ``resume``, and no catch-up of others either."""
        state = self._subscribers.get(subscriber)
        if state is None or channel not in state.channels:
            return
        channel_state = self._channels[channel]
        if channel_state.subscribers[subscriber]:
            catch_up = CatchUp(channel_state.cursor)
            self._set_catching_up(subscriber, channel, channel_state, catch_up)
        self._set_suspended(subscriber, state, channel, suspended=True)

    def resume(self, subscriber: Subscriber, channel: Channel) -> list[Effect[Subscriber]]:
        """Catch up a suspended subscription from its own cursor."""
        state = self._subscribers.get(subscriber)
        if state is not None:
            self._set_suspended(subscriber, state, channel, suspended=False)
        return self._start_batch()

    def _set_suspended(
        self,
        subscriber: Subscriber,
        state: SubscriberState,
        channel: Channel,
        *,
        suspended: bool,
    ) -> None:
        catch_up = state.channels.get(channel)
        if catch_up is not None:
            state.suspended += suspended - catch_up.suspended
            catch_up.suspended = suspended
            self._update_waiting(subscriber, state)

    def receive(
        self, cursor: Cursor, payload: bytes
    ) -> tuple[Collection[Subscriber], list[Effect[Subscriber]]]:
        """Route a frame from Redis: return its recipients, and further effects.

        The recipients are a view, which the next call may change.
        """
        channel = cursor.channel
        channel_state = self._channels.get(channel)
        if channel_state is None or not channel_state.acknowledged:
            return (), []
        if cursor.generation != channel_state.generation:
            # Either the tick of a new generation has yet to arrive, or an old leader published
            # this: no cursor of the channel proves anything until its log was read again.
            self._end_live(channel, channel_state, None)
            for subscriber in channel_state.subscribers:
                catch_up = self._subscribers[subscriber].channels[channel]
                assert catch_up is not None  # noqa: S101 none is live any more
                catch_up.since = None
            return (), self._start_batch()
        if self._batch is not None and channel in self._batch.wanted:
            self._batch.keep(cursor, payload)
        is_new = channel_state.cursor is None or cursor.is_above(channel_state.cursor)
        if not channel_state.live_count or not is_new:
            return (), []
        channel_state.cursor = cursor
        return channel_state.live, []

    def batch_read(
        self, number: int, pages: Mapping[Channel, LogPage]
    ) -> list[Effect[Subscriber]]:
        """Catch up the batch's subscribers with what was read.

        Does nothing if the link or the generation has changed since the batch began.
        """
        batch = self._batch
        if batch is None or batch.number != number:
            return []
        self._batch = None
        effects: list[Effect[Subscriber]] = []
        for subscriber in batch.subscribers:
            state = self._subscribers.get(subscriber)
            if state is None or not state.is_ready:
                continue
            catching_up = state.catching_up
            if not catching_up.keys() <= batch.wanted.keys():
                continue  # it takes part in a later batch
            cursors, announcements = announce(subscriber, state, catching_up, pages)
            effects += announcements
            for missed in plan_writes(cursors, pages, batch):
                effects += self._advance(subscriber, state, missed)
            self._update_waiting(subscriber, state)
        return effects + self._start_batch()

    def _advance(
        self, subscriber: Subscriber, state: SubscriberState, missed: Missed
    ) -> list[Effect[Subscriber]]:
        """Write what was missed; make the subscription live if that was all."""
        channel = missed.end.channel
        catch_up = state.channels[channel]
        assert catch_up is not None  # noqa: S101 it takes part in the batch
        catch_up.since = missed.end
        if missed.is_all:
            state.set_channel(channel, None)
            channel_state = self._channels[channel]
            if not channel_state.live_count:
                channel_state.cursor = missed.end
            channel_state.set_live(subscriber, live=True)
        if not missed.frames:
            return []
        self._waiting.pop(subscriber, None)  # if it waits for more, then behind the others
        return [WriteFrames(subscriber, channel, missed.payloads, catch_up.by_client)]

    def _add(
        self, subscriber: Subscriber, channel: Channel, catch_up: CatchUp
    ) -> list[Effect[Subscriber]]:
        state = self._subscribers[subscriber]
        channel_state = self._channels.get(channel)
        effects: list[Effect[Subscriber]] = []
        if channel_state is None:
            channel_state = self._channels[channel] = ChannelState(
                channel, self._channel_generation(channel)
            )
            effects = [SubscribeChannel(channel)] if self._linked else []
        if channel not in state.channels:
            state.unacknowledged += not channel_state.acknowledged
        self._set_catching_up(subscriber, channel, channel_state, catch_up)
        return effects

    def _set_catching_up(
        self,
        subscriber: Subscriber,
        channel: Channel,
        channel_state: ChannelState[Subscriber],
        catch_up: CatchUp,
    ) -> None:
        channel_state.set_live(subscriber, live=False)
        state = self._subscribers[subscriber]
        state.set_channel(channel, catch_up)
        self._update_waiting(subscriber, state)

    def _end_live(
        self, channel: Channel, channel_state: ChannelState[Subscriber], since: Since
    ) -> None:
        """Make all live subscriptions of the channel catch up from *since*."""
        for subscriber in list(channel_state.live):
            self._set_catching_up(subscriber, channel, channel_state, CatchUp(since))

    def _update_waiting(self, subscriber: Subscriber, state: SubscriberState) -> None:
        """Queue the subscriber for a batch, or remove it if it can't take part in one."""
        if state.is_ready:
            self._waiting.setdefault(subscriber)
        else:
            self._waiting.pop(subscriber, None)

    def _start_batch(self) -> list[Effect[Subscriber]]:
        """Start a batch if none is in flight, and a waiting subscriber can be served."""
        if self._batch is not None or self.generation is None or not self._linked:
            return []
        wanted, chosen = plan_batch(self._waiting, self._subscribers)
        if not chosen:
            return []
        self._batch_count += 1
        self._batch = CatchUpBatch(self._batch_count, wanted, chosen)
        return [ReadLogs(self._batch_count, self.generation, dict(wanted))]

"""The state of one subscriber and of one channel, as ``Subscriptions`` keeps it."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Generic

from gateway.delivery.effects import Subscriber
from shared.protocol.channels import Channel
from shared.protocol.events import Reason
from shared.protocol.replay import Cursor, Since


@dataclass(slots=True)
class CatchUp:
    """What a subscription that is not live has yet to receive: all changes after *since*.

    If completeness since then cannot be proved, the client gets a reset with *reason*.
    *unconfirmed*: the client awaits the answer to its ``subscribe``. *by_client*: the client
    itself asked for the replay. *suspended*: nothing is sent until access was checked.
    """

    since: Since
    reason: Reason = "gap"
    unconfirmed: bool = False
    by_client: bool = False
    suspended: bool = False


@dataclass(slots=True)
class SubscriberState:
    """One subscriber, and what it has yet to receive of each channel; None: it is live there.

    Of its channels, ``not_live`` are not live, ``suspended`` of these are suspended, and
    ``unacknowledged`` have yet to be acknowledged by Redis. ``pending_reset`` is the reason of
    a reset of everything that it has yet to receive.
    """

    channels: dict[Channel, CatchUp | None] = field(default_factory=dict)
    not_live: int = 0
    suspended: int = 0
    unacknowledged: int = 0
    greeted: bool = False
    pending_reset: Reason | None = None
    slow: bool = False

    @property
    def is_ready(self) -> bool:
        """Whether it can take part in a catch-up batch, and needs one."""
        return bool(self.not_live) and not (self.slow or self.suspended or self.unacknowledged)

    @property
    def catching_up(self) -> dict[Channel, CatchUp]:
        """What it has yet to receive, by channel."""
        return {channel: one for channel, one in self.channels.items() if one is not None}

    def set_channel(self, channel: Channel, catch_up: CatchUp | None) -> None:
        """Note what the subscriber has yet to receive of a channel, which may be a new one."""
        self._uncount(channel)
        self.channels[channel] = catch_up
        self.not_live += catch_up is not None

    def remove(self, channel: Channel) -> None:
        """Forget one of its channels."""
        self._uncount(channel)
        del self.channels[channel]

    def _uncount(self, channel: Channel) -> None:
        former = self.channels.get(channel)
        if former is not None:
            self.not_live -= 1
            self.suspended -= former.suspended


@dataclass(slots=True)
class ChannelState(Generic[Subscriber]):
    """One channel, and whether each of its ``subscribers`` is live.

    All live ones have received its frames up to ``cursor``, which is meaningless without any.
    ``generation`` is that of its cursors.
    """

    channel: Channel
    generation: str
    subscribers: dict[Subscriber, bool] = field(default_factory=dict)
    live_count: int = 0
    acknowledged: bool = False
    cursor: Cursor | None = None

    @property
    def live(self) -> Collection[Subscriber]:
        """The live subscribers, in a view if these are all."""
        if self.live_count == len(self.subscribers):
            return self.subscribers.keys()
        return [subscriber for subscriber, is_live in self.subscribers.items() if is_live]

    def set_live(self, subscriber: Subscriber, *, live: bool) -> None:
        """Note whether the subscriber, which may be a new one, is live."""
        self.live_count += live - self.subscribers.get(subscriber, False)
        self.subscribers[subscriber] = live

    def remove(self, subscriber: Subscriber) -> None:
        """Forget a subscriber."""
        self.live_count -= self.subscribers.pop(subscriber)

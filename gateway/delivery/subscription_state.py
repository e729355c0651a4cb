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
    itself asked for the replay.
    """

    since: Since
    reason: Reason = "gap"
    unconfirmed: bool = False
    by_client: bool = False


@dataclass(slots=True)
class SubscriberState:
    """One subscriber. Those of its channels that are in neither dictionary are live.

    ``pending_reset`` is the reason of a reset of everything that it has yet to receive.
    """

    channels: dict[Channel, None] = field(default_factory=dict)
    catching_up: dict[Channel, CatchUp] = field(default_factory=dict)
    suspended: dict[Channel, CatchUp] = field(default_factory=dict)
    greeted: bool = False
    pending_reset: Reason | None = None
    slow: bool = False


@dataclass(slots=True)
class ChannelState(Generic[Subscriber]):
    """One channel, and whether each of its ``subscribers`` is live.

    All live ones have received its frames up to ``cursor``, which is meaningless without any.
    ``generation`` is that of its cursors.
    """

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

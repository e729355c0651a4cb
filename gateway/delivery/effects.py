"""What ``Subscriptions`` wants done, and what was read for it from channel logs."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeAlias, TypeVar

from shared.protocol.channels import Channel
from shared.protocol.events import Reason
from shared.protocol.replay import Cursor, LogHead, Since

Subscriber = TypeVar("Subscriber", bound=Hashable)


@dataclass(frozen=True, slots=True)
class SubscribeChannel:
    channel: Channel


@dataclass(frozen=True, slots=True)
class UnsubscribeChannel:
    channel: Channel


@dataclass(frozen=True, slots=True)
class ReadLogs:
    """Read each channel's log after its ``Since``; ``batch_read`` takes the pages."""

    batch: int
    generation: str
    wanted: Mapping[Channel, Since]


@dataclass(frozen=True, slots=True)
class GreetSubscriber(Generic[Subscriber]):
    """Send a new subscriber its first frame, which resets its channels except *resumed*."""

    subscriber: Subscriber
    cursors: Sequence[Cursor]
    resumed: Sequence[Channel]


@dataclass(frozen=True, slots=True)
class ConfirmSubscription(Generic[Subscriber]):
    """Answer a subscriber that asked for one more channel."""

    subscriber: Subscriber
    cursor: Cursor
    resumed: bool


@dataclass(frozen=True, slots=True)
class ResetSubscriber(Generic[Subscriber]):
    """Tell a subscriber that it may be stale up to the cursors: in the one channel that they
    name, or (*everything*) in all data of the app.
    """

    subscriber: Subscriber
    cursors: Sequence[Cursor]
    reason: Reason
    everything: bool


@dataclass(frozen=True, slots=True)
class WriteFrames(Generic[Subscriber]):
    """Write frames that the subscriber missed in one channel, oldest first.

    *by_client*: they are a replay that the client itself asked for, by a cursor or an age.
    """

    subscriber: Subscriber
    channel: Channel
    payloads: Sequence[bytes]
    by_client: bool = False


Effect: TypeAlias = (
    SubscribeChannel
    | UnsubscribeChannel
    | ReadLogs
    | GreetSubscriber[Subscriber]
    | ConfirmSubscription[Subscriber]
    | ResetSubscriber[Subscriber]
    | WriteFrames[Subscriber]
)
Frame: TypeAlias = tuple[Cursor, bytes]


class LogPage(NamedTuple):
    """What one read found of a channel's log.

    ``frames`` are the rows above the requested position, oldest first; none if the log does
    not prove that nothing else is missing. ``more``: the log has further rows above them.
    """

    head: LogHead
    frames: Sequence[Frame] = ()
    more: bool = False

"""What the registry wants done, and what it is told of it."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

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
    """Read each channel's log from its place on; ``answered`` takes what was found."""

    round: int
    generation: str
    wanted: Mapping[Channel, Since]


@dataclass(frozen=True, slots=True)
class GreetSubscriber(Generic[Subscriber]):
    """A newcomer's first frame: of its channels, all but those *resumed* are reset by it."""

    member: Subscriber
    places: Sequence[Cursor]
    resumed: Sequence[Channel]


@dataclass(frozen=True, slots=True)
class ConfirmSubscription(Generic[Subscriber]):
    """The answer to a member that asked for a further channel."""

    member: Subscriber
    place: Cursor
    resumed: bool


@dataclass(frozen=True, slots=True)
class ResetSubscriber(Generic[Subscriber]):
    """All of one channel may be stale up to its place, or (``everything``) all there is."""

    member: Subscriber
    places: Sequence[Cursor]
    reason: Reason
    everything: bool


@dataclass(frozen=True, slots=True)
class WriteFrames(Generic[Subscriber]):
    """Frames that the member missed, in order; *by_client*: since a place that it named."""

    member: Subscriber
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


@dataclass(frozen=True, slots=True)
class LogPage:
    """What was read of one channel's log.

    The rows above what was asked for, oldest first, unless that was a gap; ``more`` if there
    are others above them.
    """

    head: LogHead
    frames: Sequence[Frame] = ()
    more: bool = False

"""What the registry wants done, and what it is told of it."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

from shared.protocol.channels import Channel
from shared.protocol.messages import Reason
from shared.protocol.replay import Cursor, LogHead, Since

Member = TypeVar("Member", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Subscribe:
    channel: Channel


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    channel: Channel


@dataclass(frozen=True, slots=True)
class Read:
    """Read each channel's log from its place on; ``answered`` takes what was found."""

    round: int
    generation: str
    wanted: Mapping[Channel, Since]


@dataclass(frozen=True, slots=True)
class Greet(Generic[Member]):
    """A newcomer's first frame: of its channels, all but those *resumed* are reset by it."""

    member: Member
    places: Sequence[Cursor]
    resumed: Sequence[Channel]


@dataclass(frozen=True, slots=True)
class Subscribed(Generic[Member]):
    """The answer to a member that asked for a further channel."""

    member: Member
    place: Cursor
    resumed: bool


@dataclass(frozen=True, slots=True)
class Reset(Generic[Member]):
    """All of one channel may be stale up to its place, or (``everything``) all there is."""

    member: Member
    places: Sequence[Cursor]
    reason: Reason
    everything: bool


@dataclass(frozen=True, slots=True)
class Write(Generic[Member]):
    """Frames that the member missed, in order; *by_client*: since a place that it named."""

    member: Member
    payloads: Sequence[bytes]
    by_client: bool = False


Effect: TypeAlias = (
    Subscribe
    | Unsubscribe
    | Read
    | Greet[Member]
    | Subscribed[Member]
    | Reset[Member]
    | Write[Member]
)
Frame: TypeAlias = tuple[Cursor, bytes]


@dataclass(frozen=True, slots=True)
class Answer:
    """What was read of one channel's log.

    The rows above what was asked for, oldest first, unless that was a gap; ``more`` if there
    are others above them.
    """

    head: LogHead
    frames: Sequence[Frame] = ()
    more: bool = False

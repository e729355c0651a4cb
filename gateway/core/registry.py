"""Who is subscribed to what, and when a channel's subscribers may be told what.

A channel goes through three phases. SUBSCRIBING: Redis has not acknowledged our subscription,
so messages may be missed. OPENING: it has, and the log's last place H is being read. LIVE:
frames above H go to all. Whoever waits for LIVE is told by then that all before H may be stale:
a newcomer by its greeting, others by a reset. A lost link, a new generation and a frame of a
foreign one all just send the channel back to a phase.
"""

from collections.abc import Collection, Hashable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Generic, TypeAlias, TypeVar

from shared.core.channels import Channel
from shared.core.protocol import Reason
from shared.core.replay import Cursor

Member = TypeVar("Member", bound=Hashable)


class Phase(Enum):
    SUBSCRIBING = auto()
    OPENING = auto()
    LIVE = auto()


@dataclass(frozen=True, slots=True)
class Subscribe:
    channel: Channel


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    channel: Channel


@dataclass(frozen=True, slots=True)
class Open:
    """Read the last place of the channel's log in this generation; ``opened`` takes it."""

    channel: Channel
    generation: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Greet(Generic[Member]):
    """Tell a newcomer that it is live from this place on."""

    member: Member
    place: Cursor


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a channel's members must be reset, and whether all else they hold is stale too."""

    reason: Reason
    everything: bool


@dataclass(frozen=True, slots=True)
class Reset(Generic[Member]):
    """Tell a member that everything of the channel (or everything) may be stale up to this
    place.
    """

    member: Member
    place: Cursor
    cause: Cause


Effect: TypeAlias = Subscribe | Unsubscribe | Open | Greet[Member] | Reset[Member]


@dataclass(slots=True)
class _Entry(Generic[Member]):
    channel: Channel
    phase: Phase = Phase.SUBSCRIBING
    attempt: int = 0
    place: Cursor | None = None
    cause: Cause = Cause("gap", everything=False)
    greeted: dict[Member, None] = field(default_factory=dict)
    waiting: dict[Member, None] = field(default_factory=dict)


class Registry(Generic[Member]):
    """All channels of one gateway.

    Every method returns what is to be done about it, in order.
    """

    def __init__(self) -> None:
        self.generation: str | None = None
        self.linked = False
        self._entries: dict[Channel, _Entry[Member]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def join(self, channel: Channel, member: Member) -> list[Effect[Member]]:
        """First in: the channel is subscribed to."""
        entry = self._entries.get(channel)
        if entry is None:
            entry = self._entries[channel] = _Entry(channel)
            entry.waiting[member] = None
            return [Subscribe(channel)] if self.linked else []
        if entry.phase is Phase.LIVE and entry.place is not None:
            entry.greeted[member] = None
            return [Greet(member, entry.place)]
        entry.waiting[member] = None
        return []

    def leave(self, channel: Channel, member: Member) -> list[Effect[Member]]:
        """Last out: the channel is unsubscribed from."""
        entry = self._entries.get(channel)
        if entry is None:
            return []
        entry.greeted.pop(member, None)
        entry.waiting.pop(member, None)
        if entry.greeted or entry.waiting:
            return []
        del self._entries[channel]
        return [Unsubscribe(channel)] if self.linked else []

    def link_up(self) -> list[Effect[Member]]:
        """The subscriber connection is there: subscribe to all."""
        self.linked = True
        return [Subscribe(channel) for channel in self._entries]

    def link_lost(self) -> list[Effect[Member]]:
        """Whatever is published from now on is missed."""
        self.linked = False
        for entry in self._entries.values():
            self._send_back(entry, Phase.SUBSCRIBING, Cause("gap", everything=False))
        return []

    def acknowledged(self, channel: Channel) -> list[Effect[Member]]:
        """Redis has subscribed us: nothing published from now on is missed."""
        entry = self._entries.get(channel)
        if entry is None or entry.phase is not Phase.SUBSCRIBING:
            return []
        return self._reopen(entry, entry.cause)

    def learn(self, generation: str, reason: Reason) -> list[Effect[Member]]:
        """A generation was seen in a tick or in the state.

        Another one than ours is a reset of everything.
        """
        if generation == self.generation:
            return []
        self.generation = generation
        cause = Cause(reason, everything=True)
        effects: list[Effect[Member]] = []
        for entry in self._entries.values():
            if entry.phase is Phase.SUBSCRIBING:
                entry.cause = cause
            else:
                effects += self._reopen(entry, cause)
        return effects

    def opened(self, open_: Open, place: Cursor) -> list[Effect[Member]]:
        """The log's last place was read: the channel is live above it.

        Frames that came while it was read are told by the greeting or reset, which is written
        after them.
        """
        entry = self._entries.get(open_.channel)
        if entry is None or entry.phase is not Phase.OPENING or entry.attempt != open_.attempt:
            return []
        if (
            entry.place is not None
            and entry.place.epoch == place.epoch
            and entry.place.is_above(place)
        ):
            place = entry.place
        entry.phase, entry.place = Phase.LIVE, place
        effects: list[Effect[Member]] = [
            Reset(member, place, entry.cause) for member in entry.greeted
        ]
        effects += [Greet(member, place) for member in entry.waiting]
        entry.greeted |= entry.waiting
        entry.waiting = {}
        entry.cause = Cause("gap", everything=False)
        return effects

    def received(self, cursor: Cursor) -> tuple[Collection[Member], list[Effect[Member]]]:
        """A live frame with this cursor came: who gets it, and what else is to be done."""
        entry = self._entries.get(cursor.channel)
        if entry is None or entry.phase is Phase.SUBSCRIBING:
            return (), []
        if entry.phase is Phase.OPENING:
            entry.place = cursor
            return (), []
        if cursor.generation != self.generation:
            return (), self._reopen(entry, Cause("gap", everything=False))
        if entry.place is not None and not cursor.is_above(entry.place):
            return (), []
        entry.place = cursor
        return entry.greeted.keys(), []

    def _reopen(self, entry: _Entry[Member], cause: Cause) -> list[Effect[Member]]:
        self._send_back(entry, Phase.OPENING, cause)
        if self.generation is None:
            return []
        return [Open(entry.channel, self.generation, entry.attempt)]

    def _send_back(self, entry: _Entry[Member], phase: Phase, cause: Cause) -> None:
        if entry.phase is Phase.LIVE or not entry.cause.everything:
            entry.cause = cause
        entry.phase, entry.place = phase, None
        entry.attempt += 1

"""Channels and their subscribers: who is told what, in which order.

A member's seat in a channel is *live* (it gets each frame as it comes), *behind* (it must first
be told what it missed since its own place), or *held* (behind, and told nothing before it was
asked anew whether it may hear). A newcomer begins behind; all fall behind when Redis is lost,
and a client that is too slow does alone. One way leads back: a *round* reads the logs of all
channels that somebody waits for, in one go, and judges each seat by what was read: it is told
the rows that it missed, or of a gap, and is live. One round is under way at a time, so that all
who wait on a channel share its read, and what a member is told of several channels at once (its
greeting, a reset of everything) is said in one frame.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Generic

from gateway.delivery.effects import (
    ConfirmSubscription,
    Effect,
    Frame,
    GreetSubscriber,
    LogPage,
    ReadLogs,
    ResetSubscriber,
    SubscribeChannel,
    Subscriber,
    UnsubscribeChannel,
    WriteFrames,
)
from gateway.delivery.writes import fit_frames
from shared.protocol.channels import Channel
from shared.protocol.events import Reason
from shared.protocol.replay import Cursor, Since, decide_replay

MAX_CHANNELS_PER_BATCH: Final = 200
MAX_SUBSCRIPTIONS_PER_BATCH: Final = (
    200  # all are served at once: nobody else is told anything meanwhile
)
MAX_FRAMES_PER_BATCH: Final = 10_000
MAX_BYTES_PER_BATCH: Final = 128 * 1024  # to one member; the last frame may exceed it


@dataclass(slots=True)
class _CatchUp:
    """A seat that is behind. What can't be proved complete since is told with the reason.

    *asked*: the client waits for the answer to its ``subscribe``; *by_client*: what is replayed
    is what the client itself asked for.
    """

    since: Since
    reason: Reason = "gap"
    asked: bool = False
    by_client: bool = False


@dataclass(slots=True)
class _Subscriber:
    channels: dict[Channel, None] = field(default_factory=dict)
    behind: dict[Channel, _CatchUp] = field(default_factory=dict)
    held: dict[Channel, _CatchUp] = field(default_factory=dict)
    greeted: bool = False
    owed_reset: Reason | None = None
    slow: bool = False


@dataclass(slots=True)
class _Channel(Generic[Subscriber]):
    """``place`` is the last frame that its live members got; without any it means nothing."""

    members: dict[Subscriber, None] = field(default_factory=dict)
    acknowledged: bool = False
    place: Cursor | None = None
    live: dict[Subscriber, None] = field(default_factory=dict)


@dataclass(slots=True)
class _Batch(Generic[Subscriber]):
    number: int
    wanted: dict[Channel, Since]
    members: Sequence[Subscriber]
    heard: dict[Channel, list[Frame]] = field(default_factory=dict)
    heard_count: int = 0


class Subscriptions(Generic[Subscriber]):
    """All channels of one gateway.

    Every method returns what is to be done about it, in order.
    """

    def __init__(self) -> None:
        self.generation: str | None = None
        self.linked = False
        self._entries: dict[Channel, _Channel[Subscriber]] = {}
        self._members: dict[Subscriber, _Subscriber] = {}
        self._waiting: dict[Subscriber, None] = {}
        self._round: _Batch[Subscriber] | None = None
        self._rounds = 0

    def __len__(self) -> int:
        return len(self._entries)

    def is_caught_up(self, member: Subscriber) -> bool:
        """Whether it was greeted and is live on all its channels."""
        membership = self._members.get(member)
        return membership is not None and not membership.behind and not membership.held

    def channels_of(self, member: Subscriber) -> Collection[Channel]:
        membership = self._members.get(member)
        return membership.channels if membership else ()

    def join(
        self, member: Subscriber, wanted: Mapping[Channel, Since]
    ) -> list[Effect[Subscriber]]:
        """A newcomer: it is greeted once all its channels were read."""
        self._members[member] = _Subscriber()
        effects: list[Effect[Subscriber]] = []
        for channel, since in wanted.items():
            effects += self._seat(member, channel, _CatchUp(since, by_client=True))
        return effects + self._next_round()

    def subscribe(
        self, member: Subscriber, channel: Channel, since: Since
    ) -> list[Effect[Subscriber]]:
        """One more channel; asked for again, a channel is caught up from *since* again."""
        membership = self._members.get(member)
        if membership is None:
            return []
        effects = self._seat(member, channel, _CatchUp(since, asked=True, by_client=True))
        return effects + self._next_round()

    def unsubscribe(self, member: Subscriber, channel: Channel) -> list[Effect[Subscriber]]:
        """Last out: the channel is unsubscribed from."""
        membership = self._members.get(member)
        if membership is None or channel not in membership.channels:
            return []
        del membership.channels[channel]
        membership.behind.pop(channel, None)
        membership.held.pop(channel, None)
        self._sort(member, membership)
        entry = self._entries[channel]
        entry.live.pop(member, None)
        del entry.members[member]
        effects: list[Effect[Subscriber]] = []
        if not entry.members:
            del self._entries[channel]
            if self._round is not None:
                # who comes to it anew subscribes anew, and must not be served by this read
                self._round.wanted.pop(channel, None)
            effects = [UnsubscribeChannel(channel)]
        return effects + self._next_round()

    def leave(self, member: Subscriber) -> list[Effect[Subscriber]]:
        effects: list[Effect[Subscriber]] = []
        for channel in list(self.channels_of(member)):
            effects += self.unsubscribe(member, channel)
        self._members.pop(member, None)
        self._waiting.pop(member, None)
        return effects

    def link_up(self) -> list[Effect[Subscriber]]:
        """The subscriber connection is there: subscribe to all."""
        self.linked = True
        return [SubscribeChannel(channel) for channel in self._entries]

    def link_lost(self) -> None:
        """Whatever is published from now on is missed, and what is being read is void."""
        self.linked = False
        self._round = None
        for channel, entry in self._entries.items():
            entry.acknowledged = False
            self._all_fall_behind(channel, entry, entry.place)

    def acknowledged(self, *channels: Channel) -> list[Effect[Subscriber]]:
        """Redis has subscribed us: nothing published from now on is missed."""
        for channel in channels:
            if channel in self._entries:
                self._entries[channel].acknowledged = True
        return self._next_round()

    def learn_generation(self, generation: str, reason: Reason) -> list[Effect[Subscriber]]:
        """A generation was seen in a tick or in the state.

        Another one than ours is a reset of everything, and voids what is being read. Places of
        the former one need not be forgotten: no log of this one has their epoch.
        """
        if generation == self.generation:
            return []
        self.generation = generation
        self._round = None
        for channel, entry in self._entries.items():
            self._all_fall_behind(channel, entry, None)
        for membership in self._members.values():
            membership.owed_reset = reason if membership.greeted else None
        return self._next_round()

    def slow(self, member: Subscriber) -> None:
        """It can't take any more for now: it falls behind until it has ``drained``."""
        membership = self._members.get(member)
        if membership is None:
            return
        membership.slow = True
        self._sort(member, membership)
        for channel in membership.channels:
            entry = self._entries[channel]
            if member in entry.live:
                self._fall_behind(member, channel, entry, _CatchUp(entry.place, "lagged"))

    def drained(self, member: Subscriber) -> list[Effect[Subscriber]]:
        membership = self._members.get(member)
        if membership is not None:
            membership.slow = False
            self._sort(member, membership)
        return self._next_round()

    def suspend(self, member: Subscriber, channel: Channel) -> None:
        """Tell it nothing of the channel, nor what it missed elsewhere, until ``resume``."""
        membership = self._members.get(member)
        if membership is None or channel not in membership.channels:
            return
        entry = self._entries[channel]
        if member in entry.live:
            self._fall_behind(member, channel, entry, _CatchUp(entry.place))
        if channel in membership.behind:
            membership.held[channel] = membership.behind.pop(channel)
        self._sort(member, membership)

    def resume(self, member: Subscriber, channel: Channel) -> list[Effect[Subscriber]]:
        """It may hear: it is caught up from its own place."""
        membership = self._members.get(member)
        if membership is not None and channel in membership.held:
            membership.behind[channel] = membership.held.pop(channel)
            self._sort(member, membership)
        return self._next_round()

    def received(
        self, cursor: Cursor, payload: bytes
    ) -> tuple[Collection[Subscriber], list[Effect[Subscriber]]]:
        """A live frame came: who gets it, and what else is to be done."""
        channel = cursor.channel
        entry = self._entries.get(channel)
        if entry is None or not entry.acknowledged:
            return (), []
        if cursor.generation != self.generation:
            self._all_fall_behind(channel, entry, None)
            for member in entry.members:
                membership = self._members[member]
                seat = membership.behind.get(channel) or membership.held[channel]
                seat.since = None
            return (), self._next_round()
        if self._round is not None and channel in self._round.wanted:
            self._round.heard_count += 1
            if self._round.heard_count <= MAX_FRAMES_PER_BATCH:
                self._round.heard.setdefault(channel, []).append((cursor, payload))
        if not entry.live or (entry.place is not None and not cursor.is_above(entry.place)):
            return (), []
        entry.place = cursor
        return entry.live.keys(), []

    def answered(
        self, number: int, answers: Mapping[Channel, LogPage]
    ) -> list[Effect[Subscriber]]:
        """The round's logs were read. Void if the link or the generation changed since."""
        round_ = self._round
        if round_ is None or round_.number != number:
            return []
        self._round = None
        effects: list[Effect[Subscriber]] = []
        for member in round_.members:
            membership = self._members.get(member)
            if (
                membership is None
                or membership.slow
                or membership.held
                or not membership.behind.keys() <= round_.wanted.keys()
            ):
                continue  # whoever is still there waits for the next round
            places, told = self._judge(member, membership, answers)
            effects += told
            room = MAX_BYTES_PER_BATCH
            for place in places:
                write = self._serve(member, place, answers[place.channel], round_, room)
                if write.payloads:
                    effects.append(write)
                    room -= sum(map(len, write.payloads))
                    self._waiting.pop(member, None)  # if it waits for more, behind the others
            self._sort(member, membership)
        return effects + self._next_round()

    def _sort(self, member: Subscriber, membership: _Subscriber) -> None:
        """Let it wait for the next round, at the end, or not: only who could be helped does."""
        if membership.slow or membership.held or not membership.behind:
            self._waiting.pop(member, None)
        else:
            self._waiting.setdefault(member)

    def _judge(
        self, member: Subscriber, membership: _Subscriber, answers: Mapping[Channel, LogPage]
    ) -> tuple[list[Cursor], list[Effect[Subscriber]]]:
        """From where on it will be complete in each channel that it is behind in, and what it
        is told of that: what is resumed, and what was reset.
        """
        effects: list[Effect[Subscriber]] = []
        places: dict[Channel, Cursor] = {}
        resumed: list[Channel] = []
        gaps: dict[Cursor, Reason] = {}
        for channel, seat in membership.behind.items():
            head = answers[channel].head
            after = decide_replay(seat.since, head)
            if after is None:
                places[channel] = seat.since = Cursor(channel, head.epoch, head.last)
                if not seat.asked:
                    gaps[places[channel]] = seat.reason
            else:
                places[channel] = seat.since = Cursor(channel, head.epoch, after)
                resumed.append(channel)
        if not membership.greeted:
            effects.append(GreetSubscriber(member, list(places.values()), resumed))
            membership.greeted = True
        elif membership.owed_reset is not None:
            told = list(places.values())
            effects.append(
                ResetSubscriber(member, told, membership.owed_reset, everything=True)
            )
            membership.owed_reset = None
        elif any(place.channel.kind == "user" for place in gaps):
            # whose lists may be stale, for that every project is
            reason = next(iter(gaps.values()))
            effects.append(ResetSubscriber(member, list(gaps), reason, everything=True))
        else:
            effects += [
                ResetSubscriber(member, [place], reason, everything=False)
                for place, reason in gaps.items()
            ]
        for channel, seat in membership.behind.items():
            if seat.asked:
                seat.asked = False
                effects.append(ConfirmSubscription(member, places[channel], channel in resumed))
        return list(places.values()), effects

    def _serve(
        self,
        member: Subscriber,
        place: Cursor,
        answer: LogPage,
        round_: _Batch[Subscriber],
        room: int,
    ) -> WriteFrames[Subscriber]:
        """Tell it the rows that were read above its place, as far as there is room; once those
        were all it is live.
        """
        channel, head = place.channel, answer.head
        membership = self._members[member]
        entry, seat = self._entries[channel], membership.behind[channel]
        asked = decide_replay(round_.wanted[channel], head)
        if place.offset < head.last and (asked is None or place.offset < asked):
            # the read was for one that waited longer, from a later place
            return WriteFrames(member, [], seat.by_client)
        frames = [frame for frame in answer.frames if frame[0].is_above(place)]
        end = answer.frames[-1][0] if answer.more else Cursor(channel, head.epoch, head.last)
        end = end if end.is_above(place) else place
        is_all = end.offset == head.last and round_.heard_count <= MAX_FRAMES_PER_BATCH
        if is_all:
            heard = [f for f in round_.heard.get(channel, ()) if f[0].is_above(end)]
            frames += heard
            end = heard[-1][0] if heard else end
        told = fit_frames(frames, room)
        if len(told) < len(frames):
            end, is_all = told[-1][0] if told else place, False
        seat.since = end
        if is_all:
            del membership.behind[channel]
            if not entry.live:
                entry.place = end
            entry.live[member] = None
        return WriteFrames(member, [payload for _, payload in told], seat.by_client)

    def _seat(
        self, member: Subscriber, channel: Channel, seat: _CatchUp
    ) -> list[Effect[Subscriber]]:
        membership = self._members[member]
        entry = self._entries.get(channel)
        effects: list[Effect[Subscriber]] = []
        if entry is None:
            entry = self._entries[channel] = _Channel()
            effects = [SubscribeChannel(channel)] if self.linked else []
        if channel not in membership.channels:
            membership.channels[channel] = None
            entry.members[member] = None
        self._fall_behind(member, channel, entry, seat)
        return effects

    def _fall_behind(
        self, member: Subscriber, channel: Channel, entry: _Channel[Subscriber], seat: _CatchUp
    ) -> None:
        entry.live.pop(member, None)
        membership = self._members[member]
        membership.held.pop(channel, None)
        membership.behind[channel] = seat
        self._sort(member, membership)

    def _all_fall_behind(
        self, channel: Channel, entry: _Channel[Subscriber], since: Since
    ) -> None:
        for member in list(entry.live):
            self._fall_behind(member, channel, entry, _CatchUp(since))

    def _next_round(self) -> list[Effect[Subscriber]]:
        """Begin one, if none is under way and somebody waits who can be helped."""
        if self._round is not None or self.generation is None or not self.linked:
            return []
        wanted: dict[Channel, Since] = {}
        members: list[Subscriber] = []
        seats = 0
        for member in self._waiting:
            membership = self._members[member]
            behind = membership.behind
            if not all(self._entries[channel].acknowledged for channel in behind):
                continue
            more = sum(channel not in wanted for channel in behind)
            if wanted and len(wanted) + more > MAX_CHANNELS_PER_BATCH:
                continue
            if members and seats + len(behind) > MAX_SUBSCRIPTIONS_PER_BATCH:
                continue
            seats += len(behind)
            for channel, seat in behind.items():
                if wanted.get(channel) is None:
                    wanted[channel] = seat.since
            members.append(member)
        if not members:
            return []
        self._rounds += 1
        self._round = _Batch(self._rounds, wanted, members)
        return [ReadLogs(self._rounds, self.generation, dict(wanted))]

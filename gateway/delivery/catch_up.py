"""A catch-up batch: which subscribers it serves, and what each of them gets."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Generic, NamedTuple

from gateway.delivery.effects import (
    ConfirmSubscription,
    Effect,
    Frame,
    GreetSubscriber,
    LogPage,
    ResetSubscriber,
    Subscriber,
)
from gateway.delivery.subscription_state import CatchUp, SubscriberState
from gateway.delivery.writes import fit_frames
from shared.protocol.channels import Channel
from shared.protocol.events import Reason
from shared.protocol.replay import Cursor, Since, decide_replay

MAX_CHANNELS_PER_BATCH: Final = 200
# all are served in one step of the event loop, in which nobody else gets anything
MAX_SUBSCRIPTIONS_PER_BATCH: Final = 200
MAX_FRAMES_PER_BATCH: Final = 10_000  # live frames that are kept while the logs are read
MAX_BYTES_PER_BATCH: Final = 128 * 1024  # to one subscriber; the last frame may exceed it


@dataclass(slots=True)
class CatchUpBatch(Generic[Subscriber]):
    """One read of several channel logs that is in flight.

    ``frames`` are the live frames of these channels that arrived since the read began, in
    order. If there were too many to keep, ``frame_count`` shows it.
    """

    number: int
    wanted: dict[Channel, Since]
    subscribers: Sequence[Subscriber]
    frames: dict[Channel, list[Frame]] = field(default_factory=dict)
    frame_count: int = 0

    def keep(self, cursor: Cursor, payload: bytes) -> None:
        """Keep a live frame for the subscribers that the batch catches up."""
        self.frame_count += 1
        if self.frame_count <= MAX_FRAMES_PER_BATCH:
            self.frames.setdefault(cursor.channel, []).append((cursor, payload))


class Missed(NamedTuple):
    """The next frames for a subscription, which is complete up to ``end`` with them.

    ``is_all``: nothing more is missing, so the subscription becomes live.
    """

    frames: Sequence[Frame]
    end: Cursor
    is_all: bool

    @property
    def payloads(self) -> list[bytes]:
        return [payload for _, payload in self.frames]


def plan_batch(
    waiting: Iterable[Subscriber], subscribers: Mapping[Subscriber, SubscriberState]
) -> tuple[dict[Channel, Since], list[Subscriber]]:
    """Choose what to read, and for which subscribers: those that wait longest.

    A subscriber is caught up in all its channels or not at all; the first takes part even if
    it exceeds the limits alone. Each channel is read from where the first subscriber needs it;
    those that need it from an earlier position get it in another batch.
    """
    wanted: dict[Channel, Since] = {}
    chosen: list[Subscriber] = []
    subscription_count = 0
    for subscriber in waiting:
        catching_up = subscribers[subscriber].catching_up
        subscription_count += len(catching_up)
        added = sum(channel not in wanted for channel in catching_up)
        if chosen and (
            len(wanted) + added > MAX_CHANNELS_PER_BATCH
            or subscription_count > MAX_SUBSCRIPTIONS_PER_BATCH
        ):
            break
        for channel, catch_up in catching_up.items():
            if wanted.get(channel) is None:
                wanted[channel] = catch_up.since
        chosen.append(subscriber)
    return wanted, chosen


def announce(
    subscriber: Subscriber,
    state: SubscriberState,
    catching_up: Mapping[Channel, CatchUp],
    pages: Mapping[Channel, LogPage],
) -> tuple[list[Cursor], list[Effect[Subscriber]]]:
    """Decide from which cursor on the subscriber gets each channel, and what announces that:
    its greeting, resets, and the answers to its ``subscribe`` messages.

    Without a gap this is the cursor that it has; after a gap it is the log's newest, up to
    which a reset covers everything.
    """
    effects: list[Effect[Subscriber]] = []
    cursors: dict[Channel, Cursor] = {}
    resumed: list[Channel] = []
    gaps: dict[Cursor, Reason] = {}
    for channel, catch_up in catching_up.items():
        head = pages[channel].head
        after = decide_replay(catch_up.since, head)
        cursor = Cursor(channel, head.epoch, head.last if after is None else after)
        cursors[channel] = catch_up.since = cursor
        if after is not None:
            resumed.append(channel)
        elif not catch_up.unconfirmed:
            gaps[cursor] = catch_up.reason
    if not state.greeted:
        effects.append(GreetSubscriber(subscriber, list(cursors.values()), resumed))
        state.greeted = True
    elif state.pending_reset is not None:
        all_cursors = list(cursors.values())
        reason = state.pending_reset
        effects.append(ResetSubscriber(subscriber, all_cursors, reason, everything=True))
        state.pending_reset = None
    else:
        effects += _resets(subscriber, gaps)
    for channel, catch_up in catching_up.items():
        if catch_up.unconfirmed:
            catch_up.unconfirmed = False
            is_resumed = channel in resumed
            effects.append(ConfirmSubscription(subscriber, cursors[channel], is_resumed))
    return list(cursors.values()), effects


def _resets(
    subscriber: Subscriber, gaps: Mapping[Cursor, Reason]
) -> Iterator[ResetSubscriber[Subscriber]]:
    """One reset for each gap; one of everything if the gap is in the user's own channel, for
    then the user's projects may have changed.
    """
    if any(cursor.channel.kind == "user" for cursor in gaps):
        reason = next(iter(gaps.values()))
        yield ResetSubscriber(subscriber, list(gaps), reason, everything=True)
    else:
        for cursor, reason in gaps.items():
            yield ResetSubscriber(subscriber, [cursor], reason, everything=False)


def plan_writes(
    cursors: Iterable[Cursor],
    pages: Mapping[Channel, LogPage],
    batch: CatchUpBatch[Subscriber],
) -> Iterator[Missed]:
    """Collect what one subscriber missed above each cursor, up to ``MAX_BYTES_PER_BATCH``."""
    room = MAX_BYTES_PER_BATCH
    for cursor in cursors:
        missed = _missed_above(cursor, pages[cursor.channel], batch, room)
        room -= sum(len(payload) for _, payload in missed.frames)
        yield missed


def _missed_above(
    cursor: Cursor, page: LogPage, batch: CatchUpBatch[Subscriber], room: int
) -> Missed:
    channel, head = cursor.channel, page.head
    read_after = decide_replay(batch.wanted[channel], head)
    if cursor.offset < head.last and (read_after is None or cursor.offset < read_after):
        # the channel was read from a later position, for one that has waited longer
        return Missed([], cursor, is_all=False)
    frames = [frame for frame in page.frames if frame[0].is_above(cursor)]
    end = page.frames[-1][0] if page.more else Cursor(channel, head.epoch, head.last)
    end = end if end.is_above(cursor) else cursor
    is_all = end.offset == head.last and batch.frame_count <= MAX_FRAMES_PER_BATCH
    if is_all:
        arrived = [frame for frame in batch.frames.get(channel, ()) if frame[0].is_above(end)]
        frames += arrived
        end = arrived[-1][0] if arrived else end
    fitting = fit_frames(frames, room)
    if len(fitting) < len(frames):
        end, is_all = fitting[-1][0] if fitting else cursor, False
    return Missed(fitting, end, is_all)

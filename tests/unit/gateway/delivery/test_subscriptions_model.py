"""Subscriptions against a model: no subscriber misses a frame without a reset."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from gateway.delivery import catch_up as module
from gateway.delivery.effects import (
    ConfirmSubscription,
    Effect,
    GreetSubscriber,
    LogPage,
    ReadLogs,
    ResetSubscriber,
    SubscribeChannel,
    UnsubscribeChannel,
    WriteFrames,
)
from gateway.delivery.subscriptions import Subscriptions
from shared.protocol.channels import Channel
from shared.protocol.replay import Cursor, LogHead, Since, decide_replay

A = Channel("project", "a")
B = Channel("project", "b")
SUBSCRIBERS = st.sampled_from(["one", "two", "three"])
CHANNELS = st.sampled_from([A, B])


class Log:
    """A channel log as the scripts keep it: the newest change of each row, two rows at most."""

    def __init__(self, epoch: str, floor: int) -> None:
        self.epoch = epoch
        self.floor = floor
        self.rows: dict[str, int] = {}

    def add(self, row: str, offset: int) -> None:
        self.rows[row] = offset
        if len(self.rows) > 2:
            oldest = min(self.rows, key=self.rows.__getitem__)
            self.floor = self.rows.pop(oldest)

    def read(self, channel: Channel, since: Since) -> LogPage:
        last = max(self.rows.values(), default=self.floor)
        head = LogHead(self.epoch, self.floor, last)
        after = decide_replay(since, head)
        if after is None:
            return LogPage(head)
        above = sorted((offset, row) for row, offset in self.rows.items() if offset > after)
        page = [(Cursor(channel, self.epoch, o), row.encode()) for o, row in above[:1]]
        return LogPage(head, page, more=len(above) > 1)


class SubscriptionsMachine(RuleBasedStateMachine):
    """Two channels and three subscribers, with Redis, its link and faults, in any order.

    Every change of a row is written or covered by a reset. A subscriber gets a cursor only
    after all changes up to it, except for rows that have changed again above it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.subscriptions: Subscriptions[str] = Subscriptions()
        self.generation = 0
        self.offset = 100
        self.logs: dict[Channel, Log] = {}
        self.linked = False
        self.awaited = {A: 0, B: 0}
        self.commands: list[SubscribeChannel | UnsubscribeChannel] = []
        self.subscribed: set[Channel] = set()
        self.queue: list[Channel | tuple[Cursor, bytes]] = []  # acknowledgements and frames
        self.unread: list[ReadLogs] = []
        self.pages: list[tuple[ReadLogs, dict[Channel, LogPage]]] = []
        self.changes: dict[Channel, dict[str, int]] = {A: {}, B: {}}
        self.written: dict[str, dict[Channel, dict[str, int]]] = {}
        self.cursors: dict[str, dict[Channel, Cursor]] = {}
        self.covered: dict[str, dict[Channel, int]] = {}
        self.away: dict[str, tuple[dict[Channel, dict[str, int]], dict[Channel, int]]] = {}
        self.slow: set[str] = set()
        self.suspended: set[tuple[str, Channel]] = set()
        self.reset()
        self.fault("link", A)

    def do(self, effects: list[Effect[str]]) -> None:  # noqa: C901 one case per effect
        for effect in effects:
            match effect:
                case SubscribeChannel(channel):
                    self.awaited[channel] += 1
                    self.commands.append(effect)
                case UnsubscribeChannel():
                    self.commands.append(effect)
                case ReadLogs():
                    self.unread.append(effect)
                case GreetSubscriber(subscriber, cursors, resumed):
                    for cursor in cursors:
                        self.announce(subscriber, cursor, resets=cursor.channel not in resumed)
                case ConfirmSubscription(subscriber, cursor, resumed=is_resumed):
                    self.announce(subscriber, cursor, resets=not is_resumed)
                case ResetSubscriber(subscriber, cursors, everything=everything):
                    assert everything or len(cursors) == 1
                    for cursor in cursors:
                        self.announce(subscriber, cursor, resets=True)
                case WriteFrames(subscriber, payloads=payloads):
                    assert not any(subscriber == other for other, _ in self.suspended)
                    for payload in payloads:
                        self.write(subscriber, payload)

    def announce(self, subscriber: str, cursor: Cursor, *, resets: bool) -> None:
        if resets:
            self.covered[subscriber][cursor.channel] = self.offset
        self.record_cursor(subscriber, cursor)

    def write(self, subscriber: str, payload: bytes) -> None:
        row, channel_id, epoch, offset = payload.decode().split(" ")
        channel = Channel("project", channel_id)
        known = self.written[subscriber].setdefault(channel, {})
        known[row] = max(known.get(row, 0), int(offset))
        self.record_cursor(subscriber, Cursor(channel, epoch, int(offset)))

    def record_cursor(self, subscriber: str, cursor: Cursor) -> None:
        """Check the invariant: what is up to the cursor was written, or changed again above."""
        self.cursors[subscriber][cursor.channel] = cursor
        log = self.logs.get(cursor.channel)
        if log is None or log.epoch != cursor.epoch:
            return
        for row, offset in self.changes[cursor.channel].items():
            if offset <= cursor.offset:
                assert self.knows(subscriber, cursor.channel, row, offset), (
                    subscriber,
                    row,
                    cursor,
                )

    def knows(self, subscriber: str, channel: Channel, row: str, offset: int) -> bool:
        written = self.written[subscriber].get(channel, {}).get(row, 0)
        return max(written, self.covered[subscriber].get(channel, 0)) >= offset

    @rule(subscriber=SUBSCRIBERS, channels=st.sampled_from([(A,), (A, B), (B,)]))
    def join(self, subscriber: str, channels: tuple[Channel, ...]) -> None:
        if subscriber not in self.written:
            self.written[subscriber], self.covered[subscriber] = self.away.pop(
                subscriber, ({}, {})
            )
            known = self.cursors.setdefault(subscriber, {})
            self.do(
                self.subscriptions.join(
                    subscriber, {channel: known.get(channel) for channel in channels}
                )
            )

    @rule(subscriber=SUBSCRIBERS, channel=CHANNELS)
    def subscribe(self, subscriber: str, channel: Channel) -> None:
        if subscriber in self.written and self.subscriptions.is_caught_up(subscriber):
            since = self.cursors[subscriber].get(channel)
            self.do(self.subscriptions.subscribe(subscriber, channel, since))

    @rule(channel=CHANNELS, row=st.sampled_from(["r1", "r2", "r3"]))
    def publish(self, channel: Channel, row: str) -> None:
        self.offset += 1
        log = self.log(channel, f"g{self.generation}")
        log.add(row, self.offset)
        self.changes[channel][row] = self.offset
        if self.linked and channel in self.subscribed:
            payload = f"{row} {channel.id} {log.epoch} {self.offset}"
            cursor = Cursor(channel, log.epoch, self.offset)
            self.queue.append((cursor, payload.encode()))

    def log(self, channel: Channel, generation: str) -> Log:
        log = self.logs.get(channel)
        if log is None or log.epoch.partition(".")[0] != generation:
            log = self.logs[channel] = Log(f"{generation}.{self.offset}", self.offset)
        return log

    @precondition(lambda self: self.commands)
    @rule()
    def execute(self) -> None:
        """Redis executes a command; its answer comes before what is published afterwards."""
        match self.commands.pop(0):
            case SubscribeChannel(channel):
                self.subscribed.add(channel)
                self.queue.append(channel)
            case UnsubscribeChannel(channel):
                self.subscribed.discard(channel)

    @precondition(lambda self: self.queue)
    @rule()
    def receive(self) -> None:
        match self.queue.pop(0):
            case Channel() as channel:
                # subscribed again after an unsubscribe: only the last acknowledgement counts
                self.awaited[channel] -= 1
                if not self.awaited[channel]:
                    self.do(self.subscriptions.acknowledge(channel))
            case (cursor, payload):
                recipients, effects = self.subscriptions.receive(cursor, payload)
                for subscriber in list(recipients):
                    assert (subscriber, cursor.channel) not in self.suspended
                    self.write(subscriber, payload)
                self.do(effects)

    @precondition(lambda self: self.unread)
    @rule()
    def read(self) -> None:
        """Redis runs a read. Its answer arrives later, on another connection than frames."""
        read = self.unread.pop(0)
        found = {c: self._rows(c, read, since) for c, since in read.wanted.items()}
        self.pages.append((read, found))

    def _rows(self, channel: Channel, read: ReadLogs, since: Since) -> LogPage:
        found = self.log(channel, read.generation).read(channel, since)
        frames = [
            (cursor, f"{row.decode()} {channel.id} {cursor.epoch} {cursor.offset}".encode())
            for cursor, row in found.frames
        ]
        return LogPage(found.head, frames, found.more)

    @precondition(lambda self: self.pages)
    @rule()
    def answer_read(self) -> None:
        read, pages = self.pages.pop(0)
        self.do(self.subscriptions.batch_read(read.batch, pages))

    @rule(
        kind=st.sampled_from(["leave", "unsubscribe", "slow"]),
        subscriber=SUBSCRIBERS,
        channel=CHANNELS,
    )
    def weaken(self, kind: str, subscriber: str, channel: Channel) -> None:
        if subscriber not in self.written:
            return
        if kind == "leave":
            self.do(self.subscriptions.leave(subscriber))
            self.slow.discard(subscriber)
            self.suspended = {pair for pair in self.suspended if pair[0] != subscriber}
            self.away[subscriber] = (self.written.pop(subscriber), self.covered.pop(subscriber))
        elif kind == "slow":
            self.slow.add(subscriber)
            self.subscriptions.mark_slow(subscriber)
        elif len(self.subscriptions.channels_of(subscriber)) > 1:
            self.suspended.discard((subscriber, channel))
            self.do(self.subscriptions.unsubscribe(subscriber, channel))

    @precondition(lambda self: self.slow)
    @rule()
    def drain(self) -> None:
        self.do(self.subscriptions.mark_drained(self.slow.pop()))

    @rule(subscriber=SUBSCRIBERS, channel=CHANNELS)
    def suspend(self, subscriber: str, channel: Channel) -> None:
        if channel in self.subscriptions.channels_of(subscriber):
            self.suspended.add((subscriber, channel))
            self.subscriptions.suspend(subscriber, channel)

    @precondition(lambda self: self.suspended)
    @rule()
    def resume(self) -> None:
        self.do(self.subscriptions.resume(*self.suspended.pop()))

    @rule(kind=st.sampled_from(["link", "link", "evict", "reset"]), channel=CHANNELS)
    def fault(self, kind: str, channel: Channel) -> None:
        if kind == "evict":
            self.logs.pop(channel, None)
        elif kind == "reset":
            self.reset()
        elif self.linked:
            self.linked = False
            self.subscribed.clear()
            self.commands.clear()
            self.awaited = {A: 0, B: 0}
            self.queue.clear()
            self.subscriptions.link_lost()
        else:
            self.linked = True
            self.do(self.subscriptions.link_up())

    def reset(self) -> None:
        self.generation += 1
        self.do(self.subscriptions.learn_generation(f"g{self.generation}", "truncate"))

    @rule()
    def settle(self) -> None:  # noqa: C901 one step per action
        """Once everything is processed, every subscriber is caught up and complete."""
        if not self.linked:
            self.fault("link", A)
        while self.slow:
            self.drain()
        while self.suspended:
            self.resume()
        while self.commands or self.queue or self.unread or self.pages:
            if self.commands:
                self.execute()
            elif self.queue:
                self.receive()
            elif self.unread:
                self.read()
            else:
                self.answer_read()
        for subscriber in self.written:
            assert self.subscriptions.is_caught_up(subscriber), f"{subscriber} is stuck"
            for channel in self.subscriptions.channels_of(subscriber):
                for row, offset in self.changes[channel].items():
                    assert self.knows(subscriber, channel, row, offset), (
                        subscriber,
                        channel,
                        row,
                    )

    def teardown(self) -> None:
        self.settle()


TestSubscriptionsMachine = SubscriptionsMachine.TestCase
TestSubscriptionsMachine.settings = settings(
    max_examples=300, stateful_step_count=50, deadline=None
)


class TightSubscriptionsMachine(SubscriptionsMachine):
    """One frame to each subscriber per batch."""

    def __init__(self) -> None:
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(module, "MAX_BYTES_PER_BATCH", 1)
        super().__init__()

    def teardown(self) -> None:
        try:
            super().teardown()
        finally:
            self.patch.undo()


TestTightSubscriptionsMachine = TightSubscriptionsMachine.TestCase
TestTightSubscriptionsMachine.settings = settings(
    max_examples=100, stateful_step_count=50, deadline=None
)

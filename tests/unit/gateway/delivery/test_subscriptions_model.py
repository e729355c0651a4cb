"""The registry against a model: whatever happens, nobody misses a frame without being told."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from gateway.delivery import subscriptions as module
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
MEMBERS = st.sampled_from(["one", "two", "three"])
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


class RegistryMachine(RuleBasedStateMachine):
    """Redis, its link, two channels and three members, in any order.

    A row's change is told, or is covered by what resets it. A cursor is written to a member
    only after everything up to it was, but for rows that changed again above it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.registry: Subscriptions[str] = Subscriptions()
        self.generation = 0
        self.offset = 100
        self.logs: dict[Channel, Log] = {}
        self.linked = False
        self.awaited = {A: 0, B: 0}
        self.commands: list[SubscribeChannel | UnsubscribeChannel] = []
        self.subscribed: set[Channel] = set()
        self.queue: list[Channel | tuple[Cursor, bytes]] = []  # acknowledgements and frames
        self.unread: list[ReadLogs] = []
        self.answers: list[tuple[ReadLogs, dict[Channel, LogPage]]] = []
        self.changes: dict[Channel, dict[str, int]] = {A: {}, B: {}}
        self.told: dict[str, dict[Channel, dict[str, int]]] = {}
        self.cursors: dict[str, dict[Channel, Cursor]] = {}
        self.covered: dict[str, dict[Channel, int]] = {}
        self.away: dict[str, tuple[dict[Channel, dict[str, int]], dict[Channel, int]]] = {}
        self.slow: set[str] = set()
        self.held: set[tuple[str, Channel]] = set()
        self.reset()
        self.fault("link", A)

    def do(self, effects: list[Effect[str]]) -> None:  # noqa: C901 one case an effect
        for effect in effects:
            match effect:
                case SubscribeChannel(channel):
                    self.awaited[channel] += 1
                    self.commands.append(effect)
                case UnsubscribeChannel():
                    self.commands.append(effect)
                case ReadLogs():
                    self.unread.append(effect)
                case GreetSubscriber(member, places, resumed):
                    for place in places:
                        self.place(member, place, resets=place.channel not in resumed)
                case ConfirmSubscription(member, place, resumed=is_resumed):
                    self.place(member, place, resets=not is_resumed)
                case ResetSubscriber(member, places, everything=everything):
                    assert everything or len(places) == 1
                    for place in places:
                        self.place(member, place, resets=True)
                case WriteFrames(member, payloads):
                    assert not any(member == held for held, _ in self.held)
                    for payload in payloads:
                        self.tell(member, payload)

    def place(self, member: str, place: Cursor, *, resets: bool) -> None:
        if resets:
            self.covered[member][place.channel] = self.offset
        self.hold(member, place)

    def tell(self, member: str, payload: bytes) -> None:
        row, channel_id, epoch, offset = payload.decode().split(" ")
        channel = Channel("project", channel_id)
        known = self.told[member].setdefault(channel, {})
        known[row] = max(known.get(row, 0), int(offset))
        self.hold(member, Cursor(channel, epoch, int(offset)))

    def hold(self, member: str, cursor: Cursor) -> None:
        """The invariant: what is up to the cursor was told, or changed again above it."""
        self.cursors[member][cursor.channel] = cursor
        log = self.logs.get(cursor.channel)
        if log is None or log.epoch != cursor.epoch:
            return
        for row, offset in self.changes[cursor.channel].items():
            if offset <= cursor.offset:
                assert self.knows(member, cursor.channel, row, offset), (member, row, cursor)

    def knows(self, member: str, channel: Channel, row: str, offset: int) -> bool:
        told = self.told[member].get(channel, {}).get(row, 0)
        return max(told, self.covered[member].get(channel, 0)) >= offset

    @rule(member=MEMBERS, channels=st.sampled_from([(A,), (A, B), (B,)]))
    def join(self, member: str, channels: tuple[Channel, ...]) -> None:
        if member not in self.told:
            self.told[member], self.covered[member] = self.away.pop(member, ({}, {}))
            held = self.cursors.setdefault(member, {})
            self.do(
                self.registry.join(member, {channel: held.get(channel) for channel in channels})
            )

    @rule(member=MEMBERS, channel=CHANNELS)
    def subscribe(self, member: str, channel: Channel) -> None:
        if member in self.told and self.registry.is_caught_up(member):
            since = self.cursors[member].get(channel)
            self.do(self.registry.subscribe(member, channel, since))

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
    def obey(self) -> None:
        """Redis takes a command; what it acknowledges comes before what is published then."""
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
                # of several subscriptions with others ended between, only the last holds
                self.awaited[channel] -= 1
                if not self.awaited[channel]:
                    self.do(self.registry.acknowledged(channel))
            case (cursor, payload):
                members, effects = self.registry.received(cursor, payload)
                for member in list(members):
                    assert (member, cursor.channel) not in self.held
                    self.tell(member, payload)
                self.do(effects)

    @precondition(lambda self: self.unread)
    @rule()
    def read(self) -> None:
        """Redis runs a read; its answer comes later, on another connection than the frames."""
        read = self.unread.pop(0)
        found = {c: self._rows(c, read, since) for c, since in read.wanted.items()}
        self.answers.append((read, found))

    def _rows(self, channel: Channel, read: ReadLogs, since: Since) -> LogPage:
        found = self.log(channel, read.generation).read(channel, since)
        frames = [
            (cursor, f"{row.decode()} {channel.id} {cursor.epoch} {cursor.offset}".encode())
            for cursor, row in found.frames
        ]
        return LogPage(found.head, frames, found.more)

    @precondition(lambda self: self.answers)
    @rule()
    def answer(self) -> None:
        read, answers = self.answers.pop(0)
        self.do(self.registry.answered(read.round, answers))

    @rule(
        kind=st.sampled_from(["leave", "unsubscribe", "slow"]), member=MEMBERS, channel=CHANNELS
    )
    def part(self, kind: str, member: str, channel: Channel) -> None:
        if member not in self.told:
            return
        if kind == "leave":
            self.do(self.registry.leave(member))
            self.slow.discard(member)
            self.held = {(held, of) for held, of in self.held if held != member}
            self.away[member] = (self.told.pop(member), self.covered.pop(member))
        elif kind == "slow":
            self.slow.add(member)
            self.registry.slow(member)
        elif len(self.registry.channels_of(member)) > 1:
            self.held.discard((member, channel))
            self.do(self.registry.unsubscribe(member, channel))

    @precondition(lambda self: self.slow)
    @rule()
    def drain(self) -> None:
        self.do(self.registry.drained(self.slow.pop()))

    @rule(member=MEMBERS, channel=CHANNELS)
    def doubt(self, member: str, channel: Channel) -> None:
        if channel in self.registry.channels_of(member):
            self.held.add((member, channel))
            self.registry.suspend(member, channel)

    @precondition(lambda self: self.held)
    @rule()
    def release(self) -> None:
        self.do(self.registry.resume(*self.held.pop()))

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
            self.registry.link_lost()
        else:
            self.linked = True
            self.do(self.registry.link_up())

    def reset(self) -> None:
        self.generation += 1
        self.do(self.registry.learn_generation(f"g{self.generation}", "truncate"))

    @rule()
    def settle(self) -> None:  # noqa: C901 one step an action
        """When all is at rest everybody was told of all."""
        if not self.linked:
            self.fault("link", A)
        while self.slow:
            self.drain()
        while self.held:
            self.release()
        while self.commands or self.queue or self.unread or self.answers:
            if self.commands:
                self.obey()
            elif self.queue:
                self.receive()
            elif self.unread:
                self.read()
            else:
                self.answer()
        for member in self.told:
            assert self.registry.is_caught_up(member), f"{member} waits for ever"
            for channel in self.registry.channels_of(member):
                for row, offset in self.changes[channel].items():
                    assert self.knows(member, channel, row, offset), (member, channel, row)

    def teardown(self) -> None:
        self.settle()


TestRegistryMachine = RegistryMachine.TestCase
TestRegistryMachine.settings = settings(max_examples=300, stateful_step_count=50, deadline=None)


class TightRegistryMachine(RegistryMachine):
    """One frame for each member in a round."""

    def __init__(self) -> None:
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(module, "MAX_BYTES_PER_BATCH", 1)
        super().__init__()

    def teardown(self) -> None:
        try:
            super().teardown()
        finally:
            self.patch.undo()


TestTightRegistryMachine = TightRegistryMachine.TestCase
TestTightRegistryMachine.settings = settings(
    max_examples=100, stateful_step_count=50, deadline=None
)

"""The registry against a model: whatever happens, nobody misses a frame without being told."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from gateway.core import registry as module
from gateway.core.effects import (
    Answer,
    Effect,
    Frame,
    Greet,
    Read,
    Reset,
    Subscribe,
    Subscribed,
    Unsubscribe,
    Write,
)
from gateway.core.registry import Registry
from shared.core.channels import Channel
from shared.core.replay import Cursor, Loaded, LogHead, Since, decide_replay

A = Channel("project", "a")
B = Channel("project", "b")
MEMBERS = st.sampled_from(["one", "two", "three"])
CHANNELS = st.sampled_from([A, B])


def at(offset: int, *, epoch: str = "g1.x", channel: Channel = A) -> Cursor:
    return Cursor(channel, epoch, offset)


def frame(offset: int, *, channel: Channel = A) -> Frame:
    return at(offset, channel=channel), b"%d" % offset


def answer(
    *offsets: int,
    floor: int = 5,
    last: int | None = None,
    more: bool = False,
    epoch: str = "g1.x",
) -> Answer:
    """A log whose rows above what was asked are at these offsets."""
    if last is None:
        last = offsets[-1] if offsets else floor
    return Answer(LogHead(epoch, floor, last), [frame(o) for o in offsets], more)


@pytest.fixture
def registry() -> Registry[str]:
    made: Registry[str] = Registry()
    assert made.learn("g1", "gap") == []
    assert made.link_up() == []
    return made


def reading(effects: list[Effect[str]]) -> Read:
    [effect] = effects
    assert isinstance(effect, Read)
    return effect


def go_live(registry: Registry[str], member: str = "one", last: int = 10) -> None:
    registry.join(member, {A: None})
    read = reading(registry.acknowledged(A))
    assert registry.answered(read.round, {A: answer(last=last)}) == [
        Greet(member, [at(last)], [])
    ]
    assert registry.is_caught_up(member)


def hear(registry: Registry[str], cursor: Cursor) -> list[str]:
    members, effects = registry.received(cursor, b"%d" % cursor.offset)
    assert effects == []
    return list(members)


def test_the_first_in_subscribes_and_the_last_out_unsubscribes(registry: Registry[str]) -> None:
    assert registry.join("one", {A: None}) == [Subscribe(A)]
    assert registry.join("two", {A: None}) == []
    assert registry.leave("one") == []
    assert len(registry) == 1
    assert registry.leave("two") == [Unsubscribe(A)]
    assert registry.leave("two") == []
    assert len(registry) == 0
    assert not registry.is_caught_up("two")


def test_nobody_is_greeted_before_redis_acknowledged_and_the_log_was_read(
    registry: Registry[str],
) -> None:
    registry.join("one", {A: None})
    assert hear(registry, at(9)) == []
    read = reading(registry.acknowledged(A))
    assert read == Read(1, "g1", {A: None})
    assert hear(registry, at(10)) == []
    assert hear(registry, at(11)) == []
    # the log was read after the frame at 10 and before the one at 11
    assert registry.answered(read.round, {A: answer(last=10)}) == [
        Greet("one", [at(10)], []),
        Write("one", [b"11"]),
    ]
    assert hear(registry, at(11)) == []
    assert hear(registry, at(12)) == ["one"]


def test_a_cursor_is_answered_with_the_rows_above_it(registry: Registry[str]) -> None:
    registry.join("one", {A: at(6)})
    read = reading(registry.acknowledged(A))
    assert read.wanted == {A: at(6)}
    assert registry.answered(read.round, {A: answer(7, 9)}) == [
        Greet("one", [at(6)], [A]),
        Write("one", [b"7", b"9"]),
    ]
    assert hear(registry, at(10)) == ["one"]


def test_a_page_that_was_just_loaded_is_answered_like_a_cursor(registry: Registry[str]) -> None:
    registry.join("one", {A: Loaded(8)})
    read = reading(registry.acknowledged(A))
    assert registry.answered(read.round, {A: answer(9)}) == [
        Greet("one", [at(8)], [A]),
        Write("one", [b"9"]),
    ]


@pytest.mark.parametrize(
    "since",
    [None, at(4), at(11), at(8, epoch="g0.x"), at(8, epoch="g1.y"), Loaded(4)],
    ids=["nothing", "below the floor", "ahead", "generation", "another log", "loaded"],
)
def test_what_proves_nothing_is_reset_by_the_greeting(
    registry: Registry[str], since: Since
) -> None:
    registry.join("one", {A: since})
    read = reading(registry.acknowledged(A))
    assert registry.answered(read.round, {A: answer(last=10)}) == [Greet("one", [at(10)], [])]


def test_a_page_at_a_time(registry: Registry[str]) -> None:
    registry.join("one", {A: at(5)})
    read = reading(registry.acknowledged(A))
    first, written, again = registry.answered(read.round, {A: answer(6, 7, last=9, more=True)})
    assert (first, written) == (Greet("one", [at(5)], [A]), Write("one", [b"6", b"7"]))
    assert again == Read(2, "g1", {A: at(7)})
    assert not registry.is_caught_up("one")
    assert hear(registry, at(10)) == []
    assert registry.answered(2, {A: answer(9)}) == [Write("one", [b"9", b"10"])]
    assert registry.is_caught_up("one")


def test_all_who_wait_on_a_channel_share_its_read(registry: Registry[str]) -> None:
    registry.join("one", {A: at(6)})
    registry.join("two", {A: at(8)})
    registry.join("old", {A: at(5)})
    registry.join("lost", {A: None})
    read = reading(registry.acknowledged(A))
    assert read.wanted == {A: at(6)}
    effects = registry.answered(read.round, {A: answer(7, 9, last=12, more=True)})
    assert effects == [
        Greet("one", [at(6)], [A]),
        Write("one", [b"7", b"9"]),
        Greet("two", [at(8)], [A]),
        Write("two", [b"9"]),
        Greet("old", [at(5)], [A]),  # its rows follow: who came first is served first
        Greet("lost", [at(12)], []),
        Read(2, "g1", {A: at(9)}),
    ]
    assert registry.is_caught_up("lost")
    assert registry.answered(2, {A: answer(12)}) == [
        Write("one", [b"12"]),
        Write("two", [b"12"]),
        Read(3, "g1", {A: at(5)}),
    ]


def test_a_greeting_speaks_of_all_channels(registry: Registry[str]) -> None:
    registry.join("one", {A: at(6), B: None})
    assert registry.acknowledged(A) == []
    read = reading(registry.acknowledged(B))
    here, there = answer(last=6), Answer(LogHead("g1.b", 1, 3))
    assert registry.answered(read.round, {A: here, B: there}) == [
        Greet("one", [at(6), at(3, epoch="g1.b", channel=B)], [A])
    ]
    assert list(registry.channels_of("one")) == [A, B]


def test_a_late_joiner_never_moves_the_place_of_those_who_are_live(
    registry: Registry[str],
) -> None:
    go_live(registry)
    read = reading(registry.join("two", {A: None}))
    registry.answered(read.round, {A: answer(last=20)})
    assert hear(registry, at(15)) == ["one", "two"]


def test_after_a_lost_link_each_is_told_what_was_missed(registry: Registry[str]) -> None:
    go_live(registry)
    assert hear(registry, at(11)) == ["one"]
    registry.link_lost()
    assert registry.join("two", {A: None}) == []
    assert hear(registry, at(12)) == []
    assert registry.link_up() == [Subscribe(A)]
    read = reading(registry.acknowledged(A))
    assert read.wanted == {A: at(11)}
    assert registry.answered(read.round, {A: answer(12)}) == [
        Write("one", [b"12"]),
        Greet("two", [at(12)], []),
    ]


def test_after_a_lost_link_what_cannot_be_proved_is_a_gap(registry: Registry[str]) -> None:
    go_live(registry)
    registry.link_lost()
    registry.link_up()
    read = reading(registry.acknowledged(A))
    assert registry.answered(read.round, {A: answer(floor=30)}) == [
        Reset("one", [at(30)], "gap", everything=False)
    ]


def test_a_gap_of_a_users_own_channel_is_one_of_everything(registry: Registry[str]) -> None:
    user = Channel("user", "u")
    registry.join("one", {A: None, user: None})
    registry.acknowledged(A)
    read = reading(registry.acknowledged(user))
    head = LogHead("g1.x", 5, 10)
    registry.answered(read.round, {A: Answer(head), user: Answer(head)})
    registry.link_lost()
    registry.link_up()
    registry.acknowledged(A)
    read = reading(registry.acknowledged(user))
    head = LogHead("g1.x", 30, 30)
    places = [at(30), at(30, channel=user)]
    assert registry.answered(read.round, {A: Answer(head), user: Answer(head)}) == [
        Reset("one", places, "gap", everything=True)
    ]


def test_while_the_link_is_away_nothing_is_sent_to_it(registry: Registry[str]) -> None:
    registry.link_lost()
    assert registry.join("one", {A: None}) == []
    assert registry.leave("one") == [Unsubscribe(A)]  # the channel is forgotten all the same
    assert registry.leave("one") == []


def test_an_acknowledgement_counts_only_while_it_is_awaited(registry: Registry[str]) -> None:
    assert registry.acknowledged(A) == []
    go_live(registry)
    assert registry.acknowledged(A) == []


def test_an_answer_to_an_older_question_is_void(registry: Registry[str]) -> None:
    registry.join("one", {A: None})
    first = reading(registry.acknowledged(A))
    registry.link_lost()
    registry.link_up()
    assert registry.answered(first.round, {A: answer()}) == []
    second = reading(registry.acknowledged(A))
    assert registry.answered(first.round, {A: answer()}) == []
    assert registry.answered(second.round, {A: answer(last=30)}) == [Greet("one", [at(30)], [])]


def test_another_generation_resets_everything_for_everybody(registry: Registry[str]) -> None:
    go_live(registry)
    assert registry.learn("g1", "gap") == []
    read = reading(registry.learn("g2", "truncate"))
    assert read == Read(2, "g2", {A: None})
    new = answer(last=40, epoch="g2.y")
    assert registry.answered(read.round, {A: new}) == [
        Reset("one", [at(40, epoch="g2.y")], "truncate", everything=True)
    ]


def test_a_reset_voids_what_is_being_read_and_reaches_who_is_joining(
    registry: Registry[str],
) -> None:
    registry.join("one", {A: at(6)})
    first = reading(registry.acknowledged(A))
    second = reading(registry.learn("g2", "log_lost"))
    assert registry.answered(first.round, {A: answer(7)}) == []
    place = at(7, epoch="g2.y")
    assert registry.answered(second.round, {A: answer(last=7, epoch="g2.y")}) == [
        Greet("one", [place], [])
    ]


def test_a_reset_is_not_forgotten_over_a_lost_link(registry: Registry[str]) -> None:
    go_live(registry)
    registry.link_lost()
    assert registry.learn("g2", "log_lost") == []
    registry.link_up()
    registry.link_lost()
    registry.link_up()
    read = reading(registry.acknowledged(A))
    assert registry.answered(read.round, {A: answer(last=40, epoch="g2.y")}) == [
        Reset("one", [at(40, epoch="g2.y")], "log_lost", everything=True)
    ]


def test_a_frame_of_another_generation_is_a_gap_of_its_channel(registry: Registry[str]) -> None:
    go_live(registry)
    registry.join("three", {B: None})
    registry.join("two", {A: None})  # behind, and being read
    members, effects = registry.received(at(50, epoch="g2.y"), b"")
    assert (list(members), effects) == ([], [])
    [greeted, again] = registry.answered(2, {A: answer(last=60)})
    assert greeted == Greet("two", [at(60)], [])
    assert registry.answered(reading([again]).round, {A: answer(last=60)}) == [
        Reset("one", [at(60)], "gap", everything=False)
    ]
    members, [read] = registry.received(at(70, epoch="g2.y"), b"")
    assert isinstance(read, Read)


def test_a_frame_of_another_log_of_the_same_generation_is_told(
    registry: Registry[str],
) -> None:
    go_live(registry)
    assert hear(registry, at(1, epoch="g1.evicted")) == ["one"]


def test_without_a_generation_all_wait_for_it() -> None:
    registry: Registry[str] = Registry()
    registry.link_up()
    registry.join("one", {A: None})
    assert registry.acknowledged(A) == []
    assert reading(registry.learn("g1", "gap")).generation == "g1"


def test_a_slow_member_gets_nothing_more_until_it_has_drained(registry: Registry[str]) -> None:
    go_live(registry)
    read = reading(registry.join("two", {A: None}))
    registry.answered(read.round, {A: answer(last=10)})
    assert hear(registry, at(11)) == ["one", "two"]
    registry.slow("one")
    assert hear(registry, at(12)) == ["two"]
    assert registry.join("three", {B: None}) == [Subscribe(B)]
    read = reading(registry.drained("one"))
    assert read.wanted == {A: at(11)}
    assert registry.answered(read.round, {A: answer(12)}) == [Write("one", [b"12"])]
    registry.slow("one")
    read = reading(registry.drained("one"))
    assert registry.answered(read.round, {A: answer(floor=20)}) == [
        Reset("one", [at(20)], "lagged", everything=False)
    ]


def test_a_held_seat_is_told_nothing_until_it_is_released(registry: Registry[str]) -> None:
    go_live(registry)
    assert list(registry.members_of(A)) == ["one"]
    registry.hold("one", A)
    assert not registry.is_caught_up("one")
    assert hear(registry, at(11)) == []
    registry.hold("one", A)
    registry.hold("one", B)
    registry.hold("two", A)
    read = reading(registry.release("one", A))
    assert read.wanted == {A: at(10)}
    registry.hold("one", A)
    assert registry.answered(read.round, {A: answer(11)}) == []
    read = reading(registry.release("one", A))
    assert registry.answered(read.round, {A: answer(11)}) == [Write("one", [b"11"])]
    registry.hold("one", A)
    registry.learn("g2", "truncate")
    members, effects = registry.received(at(50, epoch="g3.y"), b"")
    assert (list(members), effects) == ([], [])
    assert reading(registry.release("one", A)).wanted == {A: None}
    registry.hold("one", A)
    assert registry.unsubscribe("one", A) == [Unsubscribe(A)]
    assert registry.is_caught_up("one")
    assert registry.release("one", A) == []
    assert list(registry.members_of(A)) == []


def test_whoever_became_slow_meanwhile_waits_for_the_next_round(
    registry: Registry[str],
) -> None:
    registry.join("one", {A: None})
    read = reading(registry.acknowledged(A))
    registry.slow("one")
    assert registry.answered(read.round, {A: answer()}) == []
    assert isinstance(reading(registry.drained("one")), Read)


def test_whoever_has_gone_is_told_nothing(registry: Registry[str]) -> None:
    registry.join("one", {A: None})
    registry.join("two", {A: None})
    read = reading(registry.acknowledged(A))
    registry.leave("one")
    assert registry.answered(read.round, {A: answer()}) == [Greet("two", [at(5)], [])]
    registry.slow("one")
    assert registry.drained("one") == []
    assert registry.subscribe("one", A, None) == []
    assert registry.unsubscribe("one", A) == []
    assert list(registry.channels_of("one")) == []


def test_a_further_channel_is_answered_for_itself(registry: Registry[str]) -> None:
    go_live(registry)
    assert registry.subscribe("one", B, at(3, channel=B)) == [Subscribe(B)]
    assert hear(registry, at(11)) == ["one"]
    read = reading(registry.acknowledged(B))
    head = LogHead("g1.x", 1, 4)
    assert registry.answered(read.round, {B: Answer(head, [frame(4, channel=B)])}) == [
        Subscribed("one", at(3, channel=B), resumed=True),
        Write("one", [b"4"]),
    ]
    assert registry.unsubscribe("one", B) == [Unsubscribe(B)]
    read = reading([e for e in registry.subscribe("one", A, None) if isinstance(e, Read)])
    assert registry.answered(read.round, {A: answer(last=12)}) == [
        Subscribed("one", at(12), resumed=False)
    ]


def test_a_channel_left_before_it_was_read_is_not_answered(registry: Registry[str]) -> None:
    go_live(registry)
    registry.subscribe("one", B, None)
    registry.unsubscribe("one", B)
    assert registry.is_caught_up("one")
    assert hear(registry, at(11)) == ["one"]


def test_a_channel_asked_for_during_a_round_waits_for_the_next(
    registry: Registry[str],
) -> None:
    registry.join("one", {A: None})
    read = reading(registry.acknowledged(A))
    registry.subscribe("one", B, None)
    registry.acknowledged(B)
    [again] = registry.answered(read.round, {A: answer()})
    assert reading([again]).wanted == {A: None, B: None}


def test_a_round_is_bounded(registry: Registry[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_CHANNELS_PER_ROUND", 1)
    registry.join("one", {A: None})
    registry.join("two", {B: None})
    read = reading(registry.acknowledged(A))
    registry.acknowledged(B)
    registry.join("three", {A: None})
    assert read.wanted == {A: None}
    *told, again = registry.answered(read.round, {A: answer()})
    assert told == [Greet("one", [at(5)], [])]
    assert reading([again]).wanted == {B: None}


def test_too_much_that_is_heard_during_a_round_is_read_again(
    registry: Registry[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_HEARD_PER_ROUND", 1)
    registry.join("one", {A: None})
    read = reading(registry.acknowledged(A))
    hear(registry, at(11))
    hear(registry, at(12))
    assert registry.answered(read.round, {A: answer(last=10)}) == [
        Greet("one", [at(10)], []),
        Read(2, "g1", {A: at(10)}),
    ]
    assert registry.answered(2, {A: answer(11, 12)}) == [Write("one", [b"11", b"12"])]


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

    def read(self, channel: Channel, since: Since) -> Answer:
        last = max(self.rows.values(), default=self.floor)
        head = LogHead(self.epoch, self.floor, last)
        after = decide_replay(since, head)
        if after is None:
            return Answer(head)
        above = sorted((offset, row) for row, offset in self.rows.items() if offset > after)
        page = [(Cursor(channel, self.epoch, o), row.encode()) for o, row in above[:1]]
        return Answer(head, page, more=len(above) > 1)


class RegistryMachine(RuleBasedStateMachine):
    """Redis, its link, two channels and three members, in any order.

    A row's change is told, or is covered by what resets it. A cursor is written to a member
    only after everything up to it was, but for rows that changed again above it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.registry: Registry[str] = Registry()
        self.generation = 0
        self.offset = 100
        self.logs: dict[Channel, Log] = {}
        self.linked = False
        self.awaited = {A: 0, B: 0}
        self.commands: list[Subscribe | Unsubscribe] = []
        self.subscribed: set[Channel] = set()
        self.queue: list[Channel | tuple[Cursor, bytes]] = []  # acknowledgements and frames
        self.unread: list[Read] = []
        self.answers: list[tuple[Read, dict[Channel, Answer]]] = []
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
                case Subscribe(channel):
                    self.awaited[channel] += 1
                    self.commands.append(effect)
                case Unsubscribe():
                    self.commands.append(effect)
                case Read():
                    self.unread.append(effect)
                case Greet(member, places, resumed):
                    for place in places:
                        self.place(member, place, resets=place.channel not in resumed)
                case Subscribed(member, place, resumed=is_resumed):
                    self.place(member, place, resets=not is_resumed)
                case Reset(member, places, everything=everything):
                    assert everything or len(places) == 1
                    for place in places:
                        self.place(member, place, resets=True)
                case Write(member, payloads):
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
            case Subscribe(channel):
                self.subscribed.add(channel)
                self.queue.append(channel)
            case Unsubscribe(channel):
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

    def _rows(self, channel: Channel, read: Read, since: Since) -> Answer:
        found = self.log(channel, read.generation).read(channel, since)
        frames = [
            (cursor, f"{row.decode()} {channel.id} {cursor.epoch} {cursor.offset}".encode())
            for cursor, row in found.frames
        ]
        return Answer(found.head, frames, found.more)

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
            self.registry.hold(member, channel)

    @precondition(lambda self: self.held)
    @rule()
    def release(self) -> None:
        self.do(self.registry.release(*self.held.pop()))

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
        self.do(self.registry.learn(f"g{self.generation}", "truncate"))

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

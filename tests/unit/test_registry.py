"""The registry against a model: whatever happens, nobody misses a frame without being told."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.core.registry import (
    Cause,
    Effect,
    Greet,
    Open,
    Registry,
    Reset,
    Subscribe,
    Unsubscribe,
)
from shared.core.channels import Channel
from shared.core.replay import Cursor

A = Channel("project", "a")
B = Channel("project", "b")


def at(offset: int, *, epoch: str = "g1.x", channel: Channel = A) -> Cursor:
    return Cursor(channel, epoch, offset)


@pytest.fixture
def registry() -> Registry[str]:
    made: Registry[str] = Registry()
    assert made.learn("g1", "gap") == []
    assert made.link_up() == []
    return made


def go_live(registry: Registry[str], offset: int = 10) -> list[Effect[str]]:
    [opening] = registry.acknowledged(A)
    assert isinstance(opening, Open)
    return registry.opened(opening, at(offset))


def test_the_first_in_subscribes_and_the_last_out_unsubscribes(registry: Registry[str]) -> None:
    assert registry.join(A, "one") == [Subscribe(A)]
    assert registry.join(A, "two") == []
    assert registry.leave(A, "one") == []
    assert len(registry) == 1
    assert registry.leave(A, "two") == [Unsubscribe(A)]
    assert registry.leave(A, "two") == []
    assert len(registry) == 0


def test_nobody_is_greeted_before_redis_acknowledged_and_the_log_was_read(
    registry: Registry[str],
) -> None:
    registry.join(A, "one")
    assert registry.received(at(9)) == ((), [])
    [opening] = registry.acknowledged(A)
    assert opening == Open(A, "g1", 1)
    assert registry.received(at(11)) == ((), [])
    assert isinstance(opening, Open)
    # the frame at 11 is told by the greeting, which is written after it
    assert registry.opened(opening, at(10)) == [Greet("one", at(11))]
    assert registry.received(at(11)) == ((), [])
    members, effects = registry.received(at(12))
    assert (list(members), effects) == (["one"], [])


def test_a_late_joiner_is_greeted_at_the_channels_place(registry: Registry[str]) -> None:
    registry.join(A, "one")
    assert go_live(registry) == [Greet("one", at(10))]
    registry.received(at(20))
    assert registry.join(A, "two") == [Greet("two", at(20))]


def test_a_lost_link_resets_those_who_were_live_once_it_is_back(
    registry: Registry[str],
) -> None:
    registry.join(A, "one")
    go_live(registry)
    assert registry.link_lost() == []
    assert registry.join(A, "two") == []
    assert registry.received(at(11)) == ((), [])
    assert registry.link_up() == [Subscribe(A)]
    assert go_live(registry, 30) == [
        Reset("one", at(30), Cause("gap", everything=False)),
        Greet("two", at(30)),
    ]


def test_while_the_link_is_away_nothing_is_sent_to_it(registry: Registry[str]) -> None:
    registry.link_lost()
    assert registry.join(A, "one") == []
    assert registry.leave(A, "one") == []
    assert registry.leave(B, "one") == []


def test_an_acknowledgement_counts_only_while_it_is_awaited(registry: Registry[str]) -> None:
    assert registry.acknowledged(A) == []
    registry.join(A, "one")
    go_live(registry)
    assert registry.acknowledged(A) == []


def test_an_answer_to_an_older_question_is_void(registry: Registry[str]) -> None:
    registry.join(A, "one")
    [first] = registry.acknowledged(A)
    assert isinstance(first, Open)
    registry.link_lost()
    registry.link_up()
    assert registry.opened(first, at(10)) == []
    [second] = registry.acknowledged(A)
    assert isinstance(second, Open)
    assert registry.opened(first, at(10)) == []
    assert registry.opened(second, at(30)) == [Greet("one", at(30))]
    assert registry.opened(Open(B, "g1", 0), at(1, channel=B)) == []


def test_another_generation_resets_everything_for_everybody(registry: Registry[str]) -> None:
    registry.join(A, "one")
    go_live(registry)
    assert registry.learn("g1", "gap") == []
    [opening] = registry.learn("g2", "truncate")
    assert isinstance(opening, Open)
    assert opening.generation == "g2"
    place = at(40, epoch="g2.y")
    assert registry.opened(opening, place) == [
        Reset("one", place, Cause("truncate", everything=True))
    ]


def test_a_reset_of_everything_is_not_forgotten_over_a_lost_link(
    registry: Registry[str],
) -> None:
    registry.join(A, "one")
    go_live(registry)
    registry.link_lost()
    assert registry.learn("g2", "log_lost") == []
    registry.link_up()
    registry.link_lost()
    registry.link_up()
    [opening] = registry.acknowledged(A)
    assert isinstance(opening, Open)
    place = at(40, epoch="g2.y")
    assert registry.opened(opening, place) == [
        Reset("one", place, Cause("log_lost", everything=True))
    ]


def test_a_frame_of_another_generation_reopens_the_channel(registry: Registry[str]) -> None:
    registry.join(A, "one")
    go_live(registry)
    members, [opening] = registry.received(at(50, epoch="g2.y"))
    assert list(members) == []
    assert isinstance(opening, Open)
    assert registry.opened(opening, at(60)) == [
        Reset("one", at(60), Cause("gap", everything=False))
    ]


def test_a_frame_of_another_log_of_the_same_generation_is_told(
    registry: Registry[str],
) -> None:
    registry.join(A, "one")
    go_live(registry)
    members, _ = registry.received(at(1, epoch="g1.evicted"))
    assert list(members) == ["one"]


def test_without_a_generation_a_channel_waits_for_it() -> None:
    registry: Registry[str] = Registry()
    registry.link_up()
    registry.join(A, "one")
    assert registry.acknowledged(A) == []
    assert registry.learn("g1", "gap") == [Open(A, "g1", 2)]


class RegistryMachine(RuleBasedStateMachine):
    """Redis, its link and two members, in any order.

    Each frame is delivered or covered by what is told.
    """

    def __init__(self) -> None:
        super().__init__()
        self.registry: Registry[str] = Registry()
        self.generation = 1
        self.registry.learn("g1", "gap")
        self.linked = False
        self.subscribed = False
        self.acknowledgements = 0
        self.opens: list[Open] = []
        self.last = 1
        self.queue: list[Cursor] = []
        self.members: dict[
            str, int | None
        ] = {}  # the newest frame told or covered, None: not greeted
        self.owed: dict[str, int] = {}  # the newest frame published since

    def do(self, effects: list[Effect[str]]) -> None:
        for effect in effects:
            match effect:
                case Subscribe():
                    self.subscribed = True
                    self.acknowledgements += 1
                case Unsubscribe():
                    self.subscribed = False
                    self.acknowledgements = 0
                    self.queue.clear()
                case Open():
                    self.opens.append(effect)
                case Greet(member, place) | Reset(member, place, _):
                    assert member in self.members
                    self.members[member] = place.offset

    @rule(member=st.sampled_from(["one", "two"]))
    def join(self, member: str) -> None:
        if member not in self.members:
            self.members[member] = None
            self.do(self.registry.join(A, member))

    @rule(member=st.sampled_from(["one", "two"]))
    def leave(self, member: str) -> None:
        if self.members.pop(member, 0) != 0:
            self.do(self.registry.leave(A, member))

    @rule()
    def link_up(self) -> None:
        if not self.linked:
            self.linked = True
            self.do(self.registry.link_up())

    @rule()
    def link_lost(self) -> None:
        if self.linked:
            self.linked = self.subscribed = False
            self.acknowledgements = 0
            self.queue.clear()
            self.do(self.registry.link_lost())

    @rule()
    def publish(self) -> None:
        self.last += 1
        if self.linked and self.subscribed:
            self.queue.append(at(self.last, epoch=f"g{self.generation}.x"))

    @precondition(lambda self: self.acknowledgements)
    @rule()
    def acknowledge(self) -> None:
        # messages published after the subscription come behind its acknowledgement
        self.acknowledgements -= 1
        self.do(self.registry.acknowledged(A))

    @precondition(lambda self: self.queue and not self.acknowledgements)
    @rule()
    def receive(self) -> None:
        cursor = self.queue.pop(0)
        members, effects = self.registry.received(cursor)
        for member in members:
            self.members[member] = cursor.offset
        self.do(effects)

    @precondition(lambda self: self.opens)
    @rule(data=st.data())
    def open(self, data: st.DataObject) -> None:
        opening = self.opens.pop(data.draw(st.integers(0, len(self.opens) - 1)))
        place = at(self.last, epoch=f"{opening.generation}.x")
        self.do(self.registry.opened(opening, place))

    @rule()
    def reset(self) -> None:
        self.generation += 1
        self.queue.clear()
        self.do(self.registry.learn(f"g{self.generation}", "truncate"))

    @invariant()
    def at_rest_everybody_was_told_of_all(self) -> None:
        if not self.linked or self.acknowledgements or self.opens or self.queue:
            return
        for member, told in self.members.items():
            assert told == self.last, f"{member} was told up to {told}, not {self.last}"


TestRegistryMachine = RegistryMachine.TestCase
TestRegistryMachine.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)

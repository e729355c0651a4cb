"""The registry, one decision at a time: who is told what, and when."""

import pytest
from hypothesis import strategies as st

from gateway.delivery import subscriptions as module
from gateway.delivery.effects import (
    ConfirmSubscription,
    Effect,
    Frame,
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
from shared.protocol.replay import Cursor, Loaded, LogHead, Since

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
) -> LogPage:
    """A log whose rows above what was asked are at these offsets."""
    if last is None:
        last = offsets[-1] if offsets else floor
    return LogPage(LogHead(epoch, floor, last), [frame(o) for o in offsets], more)


@pytest.fixture
def registry() -> Subscriptions[str]:
    made: Subscriptions[str] = Subscriptions()
    assert made.learn_generation("g1", "gap") == []
    assert made.link_up() == []
    return made


def reading(effects: list[Effect[str]]) -> ReadLogs:
    [effect] = effects
    assert isinstance(effect, ReadLogs)
    return effect


def asked_for(member: str, payloads: list[bytes]) -> WriteFrames[str]:
    """Rows that are told because the client itself came with a place."""
    return WriteFrames(member, payloads, by_client=True)


def go_live(registry: Subscriptions[str], member: str = "one", last: int = 10) -> None:
    registry.join(member, {A: None})
    read = reading(registry.acknowledged(A))
    assert registry.answered(read.round, {A: answer(last=last)}) == [
        GreetSubscriber(member, [at(last)], [])
    ]
    assert registry.is_caught_up(member)


def hear(registry: Subscriptions[str], cursor: Cursor) -> list[str]:
    members, effects = registry.received(cursor, b"%d" % cursor.offset)
    assert effects == []
    return list(members)


def test_the_first_in_subscribes_and_the_last_out_unsubscribes(
    registry: Subscriptions[str],
) -> None:
    assert registry.join("one", {A: None}) == [SubscribeChannel(A)]
    assert registry.join("two", {A: None}) == []
    assert registry.leave("one") == []
    assert len(registry) == 1
    assert registry.leave("two") == [UnsubscribeChannel(A)]
    assert registry.leave("two") == []
    assert len(registry) == 0
    assert not registry.is_caught_up("two")


def test_nobody_is_greeted_before_redis_acknowledged_and_the_log_was_read(
    registry: Subscriptions[str],
) -> None:
    registry.join("one", {A: None})
    assert hear(registry, at(9)) == []
    read = reading(registry.acknowledged(A))
    assert read == ReadLogs(1, "g1", {A: None})
    assert hear(registry, at(10)) == []
    assert hear(registry, at(11)) == []
    # the log was read after the frame at 10 and before the one at 11
    assert registry.answered(read.round, {A: answer(last=10)}) == [
        GreetSubscriber("one", [at(10)], []),
        asked_for("one", [b"11"]),
    ]
    assert hear(registry, at(11)) == []
    assert hear(registry, at(12)) == ["one"]


def test_a_cursor_is_answered_with_the_rows_above_it(registry: Subscriptions[str]) -> None:
    registry.join("one", {A: at(6)})
    read = reading(registry.acknowledged(A))
    assert read.wanted == {A: at(6)}
    assert registry.answered(read.round, {A: answer(7, 9)}) == [
        GreetSubscriber("one", [at(6)], [A]),
        asked_for("one", [b"7", b"9"]),
    ]
    assert hear(registry, at(10)) == ["one"]


def test_a_page_that_was_just_loaded_is_answered_like_a_cursor(
    registry: Subscriptions[str],
) -> None:
    registry.join("one", {A: Loaded(8)})
    read = reading(registry.acknowledged(A))
    assert registry.answered(read.round, {A: answer(9)}) == [
        GreetSubscriber("one", [at(8)], [A]),
        asked_for("one", [b"9"]),
    ]


@pytest.mark.parametrize(
    "since",
    [None, at(4), at(11), at(8, epoch="g0.x"), at(8, epoch="g1.y"), Loaded(4)],
    ids=["nothing", "below the floor", "ahead", "generation", "another log", "loaded"],
)
def test_what_proves_nothing_is_reset_by_the_greeting(
    registry: Subscriptions[str], since: Since
) -> None:
    registry.join("one", {A: since})
    read = reading(registry.acknowledged(A))
    assert registry.answered(read.round, {A: answer(last=10)}) == [
        GreetSubscriber("one", [at(10)], [])
    ]


def test_a_page_at_a_time(registry: Subscriptions[str]) -> None:
    registry.join("one", {A: at(5)})
    read = reading(registry.acknowledged(A))
    first, written, again = registry.answered(read.round, {A: answer(6, 7, last=9, more=True)})
    assert (first, written) == (
        GreetSubscriber("one", [at(5)], [A]),
        asked_for("one", [b"6", b"7"]),
    )
    assert again == ReadLogs(2, "g1", {A: at(7)})
    assert not registry.is_caught_up("one")
    assert hear(registry, at(10)) == []
    assert registry.answered(2, {A: answer(9)}) == [asked_for("one", [b"9", b"10"])]
    assert registry.is_caught_up("one")


def test_all_who_wait_on_a_channel_share_its_read(registry: Subscriptions[str]) -> None:
    registry.join("one", {A: at(6)})
    registry.join("two", {A: at(8)})
    registry.join("old", {A: at(5)})
    registry.join("lost", {A: None})
    read = reading(registry.acknowledged(A))
    assert read.wanted == {A: at(6)}
    effects = registry.answered(read.round, {A: answer(7, 9, last=12, more=True)})
    assert effects == [
        GreetSubscriber("one", [at(6)], [A]),
        asked_for("one", [b"7", b"9"]),
        GreetSubscriber("two", [at(8)], [A]),
        asked_for("two", [b"9"]),
        GreetSubscriber(
            "old", [at(5)], [A]
        ),  # its rows follow: it is the first to be served next
        GreetSubscriber("lost", [at(12)], []),
        ReadLogs(2, "g1", {A: at(5)}),
    ]
    assert registry.is_caught_up("lost")
    assert registry.answered(2, {A: answer(6, 7, 9, 12)}) == [
        asked_for("old", [b"6", b"7", b"9", b"12"]),
        asked_for("one", [b"12"]),
        asked_for("two", [b"12"]),
    ]


def test_a_greeting_speaks_of_all_channels(registry: Subscriptions[str]) -> None:
    registry.join("one", {A: at(6), B: None})
    assert registry.acknowledged(A) == []
    read = reading(registry.acknowledged(B))
    here, there = answer(last=6), LogPage(LogHead("g1.b", 1, 3))
    assert registry.answered(read.round, {A: here, B: there}) == [
        GreetSubscriber("one", [at(6), at(3, epoch="g1.b", channel=B)], [A])
    ]
    assert list(registry.channels_of("one")) == [A, B]


def test_a_late_joiner_never_moves_the_place_of_those_who_are_live(
    registry: Subscriptions[str],
) -> None:
    go_live(registry)
    read = reading(registry.join("two", {A: None}))
    registry.answered(read.round, {A: answer(last=20)})
    assert hear(registry, at(15)) == ["one", "two"]


def test_after_a_lost_link_each_is_told_what_was_missed(registry: Subscriptions[str]) -> None:
    go_live(registry)
    assert hear(registry, at(11)) == ["one"]
    registry.link_lost()
    assert registry.join("two", {A: None}) == []
    assert hear(registry, at(12)) == []
    assert registry.link_up() == [SubscribeChannel(A)]
    read = reading(registry.acknowledged(A))
    assert read.wanted == {A: at(11)}
    assert registry.answered(read.round, {A: answer(12)}) == [
        WriteFrames("one", [b"12"]),
        GreetSubscriber("two", [at(12)], []),
    ]


def test_after_a_lost_link_what_cannot_be_proved_is_a_gap(registry: Subscriptions[str]) -> None:
    go_live(registry)
    registry.link_lost()
    registry.link_up()
    read = reading(registry.acknowledged(A))
    assert registry.answered(read.round, {A: answer(floor=30)}) == [
        ResetSubscriber("one", [at(30)], "gap", everything=False)
    ]


def test_a_gap_of_a_users_own_channel_is_one_of_everything(
    registry: Subscriptions[str],
) -> None:
    user = Channel("user", "u")
    registry.join("one", {A: None, user: None})
    registry.acknowledged(A)
    read = reading(registry.acknowledged(user))
    head = LogHead("g1.x", 5, 10)
    registry.answered(read.round, {A: LogPage(head), user: LogPage(head)})
    registry.link_lost()
    registry.link_up()
    registry.acknowledged(A)
    read = reading(registry.acknowledged(user))
    head = LogHead("g1.x", 30, 30)
    places = [at(30), at(30, channel=user)]
    assert registry.answered(read.round, {A: LogPage(head), user: LogPage(head)}) == [
        ResetSubscriber("one", places, "gap", everything=True)
    ]


def test_while_the_link_is_away_nothing_is_sent_to_it(registry: Subscriptions[str]) -> None:
    registry.link_lost()
    assert registry.join("one", {A: None}) == []
    assert registry.leave("one") == [
        UnsubscribeChannel(A)
    ]  # the channel is forgotten all the same
    assert registry.leave("one") == []


def test_an_acknowledgement_counts_only_while_it_is_awaited(
    registry: Subscriptions[str],
) -> None:
    assert registry.acknowledged(A) == []
    go_live(registry)
    assert registry.acknowledged(A) == []


def test_an_answer_to_an_older_question_is_void(registry: Subscriptions[str]) -> None:
    registry.join("one", {A: None})
    first = reading(registry.acknowledged(A))
    registry.link_lost()
    registry.link_up()
    assert registry.answered(first.round, {A: answer()}) == []
    second = reading(registry.acknowledged(A))
    assert registry.answered(first.round, {A: answer()}) == []
    assert registry.answered(second.round, {A: answer(last=30)}) == [
        GreetSubscriber("one", [at(30)], [])
    ]


def test_another_generation_resets_everything_for_everybody(
    registry: Subscriptions[str],
) -> None:
    go_live(registry)
    assert registry.learn_generation("g1", "gap") == []
    read = reading(registry.learn_generation("g2", "truncate"))
    assert read == ReadLogs(2, "g2", {A: None})
    new = answer(last=40, epoch="g2.y")
    assert registry.answered(read.round, {A: new}) == [
        ResetSubscriber("one", [at(40, epoch="g2.y")], "truncate", everything=True)
    ]


def test_a_reset_voids_what_is_being_read_and_reaches_who_is_joining(
    registry: Subscriptions[str],
) -> None:
    registry.join("one", {A: at(6)})
    first = reading(registry.acknowledged(A))
    second = reading(registry.learn_generation("g2", "log_lost"))
    assert registry.answered(first.round, {A: answer(7)}) == []
    place = at(7, epoch="g2.y")
    assert registry.answered(second.round, {A: answer(last=7, epoch="g2.y")}) == [
        GreetSubscriber("one", [place], [])
    ]


def test_a_reset_is_not_forgotten_over_a_lost_link(registry: Subscriptions[str]) -> None:
    go_live(registry)
    registry.link_lost()
    assert registry.learn_generation("g2", "log_lost") == []
    registry.link_up()
    registry.link_lost()
    registry.link_up()
    read = reading(registry.acknowledged(A))
    assert registry.answered(read.round, {A: answer(last=40, epoch="g2.y")}) == [
        ResetSubscriber("one", [at(40, epoch="g2.y")], "log_lost", everything=True)
    ]


def test_a_frame_of_another_generation_is_a_gap_of_its_channel(
    registry: Subscriptions[str],
) -> None:
    go_live(registry)
    registry.join("three", {B: None})
    registry.join("two", {A: None})  # behind, and being read
    members, effects = registry.received(at(50, epoch="g2.y"), b"")
    assert (list(members), effects) == ([], [])
    [greeted, again] = registry.answered(2, {A: answer(last=60)})
    assert greeted == GreetSubscriber("two", [at(60)], [])
    assert registry.answered(reading([again]).round, {A: answer(last=60)}) == [
        ResetSubscriber("one", [at(60)], "gap", everything=False)
    ]
    members, [read] = registry.received(at(70, epoch="g2.y"), b"")
    assert isinstance(read, ReadLogs)


def test_a_frame_of_another_log_of_the_same_generation_is_told(
    registry: Subscriptions[str],
) -> None:
    go_live(registry)
    assert hear(registry, at(1, epoch="g1.evicted")) == ["one"]


def test_without_a_generation_all_wait_for_it() -> None:
    registry: Subscriptions[str] = Subscriptions()
    registry.link_up()
    registry.join("one", {A: None})
    assert registry.acknowledged(A) == []
    assert reading(registry.learn_generation("g1", "gap")).generation == "g1"


def test_a_slow_member_gets_nothing_more_until_it_has_drained(
    registry: Subscriptions[str],
) -> None:
    go_live(registry)
    read = reading(registry.join("two", {A: None}))
    registry.answered(read.round, {A: answer(last=10)})
    assert hear(registry, at(11)) == ["one", "two"]
    registry.slow("one")
    assert hear(registry, at(12)) == ["two"]
    assert registry.join("three", {B: None}) == [SubscribeChannel(B)]
    read = reading(registry.drained("one"))
    assert read.wanted == {A: at(11)}
    assert registry.answered(read.round, {A: answer(12)}) == [WriteFrames("one", [b"12"])]
    registry.slow("one")
    read = reading(registry.drained("one"))
    assert registry.answered(read.round, {A: answer(floor=20)}) == [
        ResetSubscriber("one", [at(20)], "lagged", everything=False)
    ]


def test_a_held_seat_is_told_nothing_until_it_is_released(registry: Subscriptions[str]) -> None:
    go_live(registry)
    registry.suspend("one", A)
    assert not registry.is_caught_up("one")
    assert hear(registry, at(11)) == []
    registry.suspend("one", A)
    registry.suspend("one", B)
    registry.suspend("two", A)
    read = reading(registry.resume("one", A))
    assert read.wanted == {A: at(10)}
    registry.suspend("one", A)
    assert registry.answered(read.round, {A: answer(11)}) == []
    read = reading(registry.resume("one", A))
    assert registry.answered(read.round, {A: answer(11)}) == [WriteFrames("one", [b"11"])]
    registry.suspend("one", A)
    registry.learn_generation("g2", "truncate")
    members, effects = registry.received(at(50, epoch="g3.y"), b"")
    assert (list(members), effects) == ([], [])
    assert reading(registry.resume("one", A)).wanted == {A: None}
    registry.suspend("one", A)
    assert registry.unsubscribe("one", A) == [UnsubscribeChannel(A)]
    assert registry.is_caught_up("one")
    assert registry.resume("one", A) == []


def test_whoever_became_slow_meanwhile_waits_for_the_next_round(
    registry: Subscriptions[str],
) -> None:
    registry.join("one", {A: None})
    read = reading(registry.acknowledged(A))
    registry.slow("one")
    assert registry.answered(read.round, {A: answer()}) == []
    assert isinstance(reading(registry.drained("one")), ReadLogs)


def test_whoever_has_gone_is_told_nothing(registry: Subscriptions[str]) -> None:
    registry.join("one", {A: None})
    registry.join("two", {A: None})
    read = reading(registry.acknowledged(A))
    registry.leave("one")
    assert registry.answered(read.round, {A: answer()}) == [GreetSubscriber("two", [at(5)], [])]
    registry.slow("one")
    assert registry.drained("one") == []
    assert registry.subscribe("one", A, None) == []
    assert registry.unsubscribe("one", A) == []
    assert list(registry.channels_of("one")) == []


def test_a_further_channel_is_answered_for_itself(registry: Subscriptions[str]) -> None:
    go_live(registry)
    assert registry.subscribe("one", B, at(3, channel=B)) == [SubscribeChannel(B)]
    assert hear(registry, at(11)) == ["one"]
    read = reading(registry.acknowledged(B))
    head = LogHead("g1.x", 1, 4)
    assert registry.answered(read.round, {B: LogPage(head, [frame(4, channel=B)])}) == [
        ConfirmSubscription("one", at(3, channel=B), resumed=True),
        asked_for("one", [b"4"]),
    ]
    assert registry.unsubscribe("one", B) == [UnsubscribeChannel(B)]
    read = reading([e for e in registry.subscribe("one", A, None) if isinstance(e, ReadLogs)])
    assert registry.answered(read.round, {A: answer(last=12)}) == [
        ConfirmSubscription("one", at(12), resumed=False)
    ]


def test_a_channel_left_before_it_was_read_is_not_answered(
    registry: Subscriptions[str],
) -> None:
    go_live(registry)
    registry.subscribe("one", B, None)
    registry.unsubscribe("one", B)
    assert registry.is_caught_up("one")
    assert hear(registry, at(11)) == ["one"]


def test_a_channel_asked_for_during_a_round_waits_for_the_next(
    registry: Subscriptions[str],
) -> None:
    registry.join("one", {A: None})
    read = reading(registry.acknowledged(A))
    registry.subscribe("one", B, None)
    registry.acknowledged(B)
    [again] = registry.answered(read.round, {A: answer()})
    assert reading([again]).wanted == {A: None, B: None}


def test_a_round_is_bounded(
    registry: Subscriptions[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_CHANNELS_PER_BATCH", 1)
    registry.join("one", {A: None})
    registry.join("two", {B: None})
    read = reading(registry.acknowledged(A))
    registry.acknowledged(B)
    registry.join("three", {A: None})
    assert read.wanted == {A: None}
    *told, again = registry.answered(read.round, {A: answer()})
    assert told == [GreetSubscriber("one", [at(5)], [])]
    assert reading([again]).wanted == {B: None}


def test_a_round_serves_so_many_at_once_and_the_others_next(
    registry: Subscriptions[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_SUBSCRIPTIONS_PER_BATCH", 1)
    registry.join("one", {A: None})
    registry.join("two", {A: None})
    first = reading(registry.acknowledged(A))
    *told, again = registry.answered(first.round, {A: answer()})
    assert told == [GreetSubscriber("one", [at(5)], [])]
    *told, _ = [*registry.answered(reading([again]).round, {A: answer()}), None]
    assert told == [GreetSubscriber("two", [at(5)], [])]


def test_too_much_that_is_heard_during_a_round_is_read_again(
    registry: Subscriptions[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_FRAMES_PER_BATCH", 1)
    registry.join("one", {A: None})
    read = reading(registry.acknowledged(A))
    hear(registry, at(11))
    hear(registry, at(12))
    assert registry.answered(read.round, {A: answer(last=10)}) == [
        GreetSubscriber("one", [at(10)], []),
        ReadLogs(2, "g1", {A: at(10)}),
    ]
    assert registry.answered(2, {A: answer(11, 12)}) == [asked_for("one", [b"11", b"12"])]


def test_a_member_is_told_so_much_in_a_round(
    registry: Subscriptions[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has no room, in one channel or in several, follows in further rounds."""
    monkeypatch.setattr(module, "MAX_BYTES_PER_BATCH", 3)
    registry.join("one", {A: at(5), B: at(5, channel=B)})
    registry.acknowledged(A)
    read = reading(registry.acknowledged(B))
    of_b = LogPage(LogHead("g1.x", 1, 6), [frame(6, channel=B)])
    assert registry.answered(read.round, {A: answer(6, 7, 8, 9), B: of_b}) == [
        GreetSubscriber("one", [at(5), at(5, channel=B)], [A, B]),
        asked_for("one", [b"6", b"7", b"8"]),
        ReadLogs(2, "g1", {A: at(8), B: at(5, channel=B)}),
    ]
    assert hear(registry, at(100)) == []
    assert hear(registry, at(101)) == []
    assert registry.answered(2, {A: answer(9), B: of_b}) == [
        asked_for("one", [b"9", b"100"]),
        ReadLogs(3, "g1", {A: at(100), B: at(5, channel=B)}),
    ]
    assert registry.answered(3, {A: answer(101), B: of_b}) == [
        asked_for("one", [b"101"]),
        ReadLogs(4, "g1", {B: at(5, channel=B)}),
    ]
    assert registry.answered(4, {B: of_b}) == [asked_for("one", [b"6"])]
    assert registry.is_caught_up("one")
    assert hear(registry, at(102)) == ["one"]


def test_who_waits_for_more_does_not_hold_up_the_others(
    registry: Subscriptions[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_CHANNELS_PER_BATCH", 1)
    registry.join("one", {A: at(5)})
    first = reading(registry.acknowledged(A))
    registry.join("two", {B: None})
    registry.acknowledged(B)
    effects = registry.answered(first.round, {A: answer(6, last=9, more=True)})
    assert effects[-1] == ReadLogs(2, "g1", {B: None}), "it is two's turn"

"""Subscriptions, one decision at a time: who gets what, and when."""

import pytest

from gateway.delivery import catch_up as module
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


def at(offset: int, *, epoch: str = "g1.x", channel: Channel = A) -> Cursor:
    return Cursor(channel, epoch, offset)


def frame(offset: int, *, channel: Channel = A) -> Frame:
    return at(offset, channel=channel), b"%d" % offset


def page(
    *offsets: int,
    floor: int = 5,
    last: int | None = None,
    more: bool = False,
    epoch: str = "g1.x",
) -> LogPage:
    """A page with rows at these offsets."""
    if last is None:
        last = offsets[-1] if offsets else floor
    return LogPage(LogHead(epoch, floor, last), [frame(o) for o in offsets], more)


@pytest.fixture
def subscriptions() -> Subscriptions[str]:
    made: Subscriptions[str] = Subscriptions()
    assert made.learn_generation("g1", "gap") == []
    assert made.link_up() == []
    return made


def only_read(effects: list[Effect[str]]) -> ReadLogs:
    [effect] = effects
    assert isinstance(effect, ReadLogs)
    return effect


def replay(subscriber: str, payloads: list[bytes], *, channel: Channel = A) -> WriteFrames[str]:
    """Rows that the client itself asked for, by a cursor or an age."""
    return WriteFrames(subscriber, channel, payloads, by_client=True)


def go_live(subscriptions: Subscriptions[str], subscriber: str = "one", last: int = 10) -> None:
    subscriptions.join(subscriber, {A: None})
    read = only_read(subscriptions.acknowledge(A))
    assert subscriptions.batch_read(read.batch, {A: page(last=last)}) == [
        GreetSubscriber(subscriber, [at(last)], [])
    ]
    assert subscriptions.is_caught_up(subscriber)


def receive(subscriptions: Subscriptions[str], cursor: Cursor) -> list[str]:
    recipients, effects = subscriptions.receive(cursor, b"%d" % cursor.offset)
    assert effects == []
    return list(recipients)


def test_the_first_subscriber_subscribes_to_the_channel_and_the_last_unsubscribes(
    subscriptions: Subscriptions[str],
) -> None:
    assert subscriptions.join("one", {A: None}) == [SubscribeChannel(A)]
    assert subscriptions.join("two", {A: None}) == []
    assert subscriptions.leave("one") == []
    assert subscriptions.channel_count == 1
    assert subscriptions.leave("two") == [UnsubscribeChannel(A)]
    assert subscriptions.leave("two") == []
    assert subscriptions.channel_count == 0
    assert not subscriptions.is_caught_up("two")


def test_the_greeting_waits_for_redis_acknowledgement_and_the_log(
    subscriptions: Subscriptions[str],
) -> None:
    subscriptions.join("one", {A: None})
    assert receive(subscriptions, at(9)) == []
    read = only_read(subscriptions.acknowledge(A))
    assert read == ReadLogs(1, "g1", {A: None})
    assert receive(subscriptions, at(10)) == []
    assert receive(subscriptions, at(11)) == []
    # the log was read after the frame at 10 and before the one at 11
    assert subscriptions.batch_read(read.batch, {A: page(last=10)}) == [
        GreetSubscriber("one", [at(10)], []),
        replay("one", [b"11"]),
    ]
    assert receive(subscriptions, at(11)) == []
    assert receive(subscriptions, at(12)) == ["one"]


def test_a_cursor_is_resumed_with_the_rows_above_it(subscriptions: Subscriptions[str]) -> None:
    subscriptions.join("one", {A: at(6)})
    read = only_read(subscriptions.acknowledge(A))
    assert read.wanted == {A: at(6)}
    assert subscriptions.batch_read(read.batch, {A: page(7, 9)}) == [
        GreetSubscriber("one", [at(6)], [A]),
        replay("one", [b"7", b"9"]),
    ]
    assert receive(subscriptions, at(10)) == ["one"]


def test_the_age_of_a_page_is_resumed_like_a_cursor(
    subscriptions: Subscriptions[str],
) -> None:
    subscriptions.join("one", {A: Loaded(8)})
    read = only_read(subscriptions.acknowledge(A))
    assert subscriptions.batch_read(read.batch, {A: page(9)}) == [
        GreetSubscriber("one", [at(8)], [A]),
        replay("one", [b"9"]),
    ]


@pytest.mark.parametrize(
    "since",
    [None, at(4), at(11), at(8, epoch="g0.x"), at(8, epoch="g1.y"), Loaded(4)],
    ids=["nothing", "below the floor", "ahead", "generation", "another log", "loaded"],
)
def test_a_cursor_that_proves_nothing_is_reset_by_the_greeting(
    subscriptions: Subscriptions[str], since: Since
) -> None:
    subscriptions.join("one", {A: since})
    read = only_read(subscriptions.acknowledge(A))
    assert subscriptions.batch_read(read.batch, {A: page(last=10)}) == [
        GreetSubscriber("one", [at(10)], [])
    ]


def test_a_long_log_is_replayed_page_by_page(subscriptions: Subscriptions[str]) -> None:
    subscriptions.join("one", {A: at(5)})
    read = only_read(subscriptions.acknowledge(A))
    first, written, again = subscriptions.batch_read(
        read.batch, {A: page(6, 7, last=9, more=True)}
    )
    assert (first, written) == (
        GreetSubscriber("one", [at(5)], [A]),
        replay("one", [b"6", b"7"]),
    )
    assert again == ReadLogs(2, "g1", {A: at(7)})
    assert not subscriptions.is_caught_up("one")
    assert receive(subscriptions, at(10)) == []
    assert subscriptions.batch_read(2, {A: page(9)}) == [replay("one", [b"9", b"10"])]
    assert subscriptions.is_caught_up("one")


def test_subscribers_that_wait_for_a_channel_share_its_read(
    subscriptions: Subscriptions[str],
) -> None:
    subscriptions.join("one", {A: at(6)})
    subscriptions.join("two", {A: at(8)})
    subscriptions.join("old", {A: at(5)})
    subscriptions.join("lost", {A: None})
    read = only_read(subscriptions.acknowledge(A))
    assert read.wanted == {A: at(6)}
    effects = subscriptions.batch_read(read.batch, {A: page(7, 9, last=12, more=True)})
    assert effects == [
        GreetSubscriber("one", [at(6)], [A]),
        replay("one", [b"7", b"9"]),
        GreetSubscriber("two", [at(8)], [A]),
        replay("two", [b"9"]),
        GreetSubscriber(
            "old", [at(5)], [A]
        ),  # the read began above its cursor: it is served first next time
        GreetSubscriber("lost", [at(12)], []),
        ReadLogs(2, "g1", {A: at(5)}),
    ]
    assert subscriptions.is_caught_up("lost")
    assert subscriptions.batch_read(2, {A: page(6, 7, 9, 12)}) == [
        replay("old", [b"6", b"7", b"9", b"12"]),
        replay("one", [b"12"]),
        replay("two", [b"12"]),
    ]


def test_a_greeting_has_a_cursor_for_every_channel(subscriptions: Subscriptions[str]) -> None:
    subscriptions.join("one", {A: at(6), B: None})
    assert subscriptions.acknowledge(A) == []
    read = only_read(subscriptions.acknowledge(B))
    here, there = page(last=6), LogPage(LogHead("g1.b", 1, 3))
    assert subscriptions.batch_read(read.batch, {A: here, B: there}) == [
        GreetSubscriber("one", [at(6), at(3, epoch="g1.b", channel=B)], [A])
    ]
    assert list(subscriptions.channels_of("one")) == [A, B]


def test_a_joining_subscriber_does_not_move_the_cursor_of_live_ones(
    subscriptions: Subscriptions[str],
) -> None:
    go_live(subscriptions)
    read = only_read(subscriptions.join("two", {A: None}))
    subscriptions.batch_read(read.batch, {A: page(last=20)})
    assert receive(subscriptions, at(15)) == ["one", "two"]


def test_after_a_lost_link_missed_frames_are_replayed(
    subscriptions: Subscriptions[str],
) -> None:
    go_live(subscriptions)
    assert receive(subscriptions, at(11)) == ["one"]
    subscriptions.link_lost()
    assert subscriptions.join("two", {A: None}) == []
    assert receive(subscriptions, at(12)) == []
    assert subscriptions.link_up() == [SubscribeChannel(A)]
    read = only_read(subscriptions.acknowledge(A))
    assert read.wanted == {A: at(11)}
    assert subscriptions.batch_read(read.batch, {A: page(12)}) == [
        WriteFrames("one", A, [b"12"]),
        GreetSubscriber("two", [at(12)], []),
    ]


def test_after_a_lost_link_a_gap_resets_the_channel(
    subscriptions: Subscriptions[str],
) -> None:
    go_live(subscriptions)
    subscriptions.link_lost()
    subscriptions.link_up()
    read = only_read(subscriptions.acknowledge(A))
    assert subscriptions.batch_read(read.batch, {A: page(floor=30)}) == [
        ResetSubscriber("one", [at(30)], "gap", everything=False)
    ]


def test_a_gap_in_a_users_own_channel_resets_everything(
    subscriptions: Subscriptions[str],
) -> None:
    user = Channel("user", "u")
    subscriptions.join("one", {A: None, user: None})
    subscriptions.acknowledge(A)
    read = only_read(subscriptions.acknowledge(user))
    head = LogHead("g1.x", 5, 10)
    subscriptions.batch_read(read.batch, {A: LogPage(head), user: LogPage(head)})
    subscriptions.link_lost()
    subscriptions.link_up()
    subscriptions.acknowledge(A)
    read = only_read(subscriptions.acknowledge(user))
    head = LogHead("g1.x", 30, 30)
    cursors = [at(30), at(30, channel=user)]
    assert subscriptions.batch_read(read.batch, {A: LogPage(head), user: LogPage(head)}) == [
        ResetSubscriber("one", cursors, "gap", everything=True)
    ]


def test_of_a_lost_channel_missed_frames_are_replayed_and_others_stay_live() -> None:
    subscriptions = live_in_two_channels()
    assert receive(subscriptions, at(11)) == ["one"]
    subscriptions.lose([A])
    assert receive(subscriptions, at(12)) == []
    assert receive(subscriptions, at(13, channel=B)) == ["one"]
    read = only_read(subscriptions.acknowledge(A))
    assert read.wanted == {A: at(11)}
    assert subscriptions.batch_read(read.batch, {A: page(12)}) == [
        WriteFrames("one", A, [b"12"])
    ]
    assert receive(subscriptions, at(14)) == ["one"]


def test_a_channel_that_is_lost_while_its_log_is_read_is_read_again() -> None:
    subscriptions = live_in_two_channels()
    subscriptions.join("two", {A: at(10)})
    subscriptions.lose([A])
    assert subscriptions.batch_read(2, {}) == []
    read = only_read(subscriptions.acknowledge(A))
    assert subscriptions.batch_read(read.batch, {A: page(last=10)}) == [
        GreetSubscriber("two", [at(10)], [A])
    ]
    assert receive(subscriptions, at(11)) == ["one", "two"]


def test_a_lost_channel_that_nobody_is_subscribed_to_is_ignored(
    subscriptions: Subscriptions[str],
) -> None:
    subscriptions.lose([A])
    go_live(subscriptions)


class Numbers:
    """What a cluster's slot table makes of generations."""

    def __init__(self) -> None:
        self.of_a = "1"

    def generation_of(self, generation: str, channel: Channel) -> str:
        return f"{generation}-{self.of_a if channel == A else '1'}"


def test_in_a_cluster_a_slot_with_another_number_is_a_gap_of_its_channels() -> None:
    numbers = Numbers()
    subscriptions = live_in_two_channels(numbers, epoch="g1-1.x")
    assert receive(subscriptions, at(11, epoch="g1-1.x")) == ["one"]
    # its frames may come before the table
    recipients, effects = subscriptions.receive(at(12, epoch="g1-2.y"), b"")
    assert list(recipients) == []
    numbers.of_a = "2"
    subscriptions.lose([A])
    assert receive(subscriptions, at(11, epoch="g1-1.x", channel=B)) == ["one"]
    assert subscriptions.acknowledge(A) == []
    read = only_read(subscriptions.batch_read(only_read(effects).batch, {}))
    assert read.generation == "g1"
    assert subscriptions.batch_read(read.batch, {A: page(last=20, epoch="g1-2.y")}) == [
        ResetSubscriber("one", [at(20, epoch="g1-2.y")], "gap", everything=False)
    ]
    assert receive(subscriptions, at(21, epoch="g1-2.y")) == ["one"]


def live_in_two_channels(
    numbers: Numbers | None = None, *, epoch: str = "g1.x"
) -> Subscriptions[str]:
    made: Subscriptions[str] = (
        Subscriptions(numbers.generation_of) if numbers else Subscriptions()
    )
    made.learn_generation("g1", "gap")
    made.link_up()
    made.join("one", {A: None, B: None})
    read = only_read(made.acknowledge(A, B))
    head = LogHead(epoch, 5, 10)
    made.batch_read(read.batch, {A: LogPage(head), B: LogPage(head)})
    assert made.is_caught_up("one")
    return made


def test_without_a_link_channels_are_not_subscribed_to(
    subscriptions: Subscriptions[str],
) -> None:
    subscriptions.link_lost()
    assert subscriptions.join("one", {A: None}) == []
    assert subscriptions.leave("one") == [
        UnsubscribeChannel(A)
    ]  # the channel is removed all the same
    assert subscriptions.leave("one") == []


def test_an_unexpected_acknowledgement_is_ignored(
    subscriptions: Subscriptions[str],
) -> None:
    assert subscriptions.acknowledge(A) == []
    go_live(subscriptions)
    assert subscriptions.acknowledge(A) == []


def test_a_batch_from_before_a_lost_link_is_void(subscriptions: Subscriptions[str]) -> None:
    subscriptions.join("one", {A: None})
    first = only_read(subscriptions.acknowledge(A))
    subscriptions.link_lost()
    subscriptions.link_up()
    assert subscriptions.batch_read(first.batch, {A: page()}) == []
    second = only_read(subscriptions.acknowledge(A))
    assert subscriptions.batch_read(first.batch, {A: page()}) == []
    assert subscriptions.batch_read(second.batch, {A: page(last=30)}) == [
        GreetSubscriber("one", [at(30)], [])
    ]


def test_a_new_generation_resets_everything(
    subscriptions: Subscriptions[str],
) -> None:
    go_live(subscriptions)
    assert subscriptions.learn_generation("g1", "gap") == []
    read = only_read(subscriptions.learn_generation("g2", "truncate"))
    assert read == ReadLogs(2, "g2", {A: None})
    new = page(last=40, epoch="g2.y")
    assert subscriptions.batch_read(read.batch, {A: new}) == [
        ResetSubscriber("one", [at(40, epoch="g2.y")], "truncate", everything=True)
    ]


def test_a_new_generation_voids_the_batch_in_flight(
    subscriptions: Subscriptions[str],
) -> None:
    subscriptions.join("one", {A: at(6)})
    first = only_read(subscriptions.acknowledge(A))
    second = only_read(subscriptions.learn_generation("g2", "log_lost"))
    assert subscriptions.batch_read(first.batch, {A: page(7)}) == []
    cursor = at(7, epoch="g2.y")
    assert subscriptions.batch_read(second.batch, {A: page(last=7, epoch="g2.y")}) == [
        GreetSubscriber("one", [cursor], [])
    ]


def test_a_pending_reset_survives_a_lost_link(subscriptions: Subscriptions[str]) -> None:
    go_live(subscriptions)
    subscriptions.link_lost()
    assert subscriptions.learn_generation("g2", "log_lost") == []
    subscriptions.link_up()
    subscriptions.link_lost()
    subscriptions.link_up()
    read = only_read(subscriptions.acknowledge(A))
    assert subscriptions.batch_read(read.batch, {A: page(last=40, epoch="g2.y")}) == [
        ResetSubscriber("one", [at(40, epoch="g2.y")], "log_lost", everything=True)
    ]


def test_a_frame_of_another_generation_is_a_gap_of_its_channel(
    subscriptions: Subscriptions[str],
) -> None:
    go_live(subscriptions)
    subscriptions.join("three", {B: None})
    subscriptions.join("two", {A: None})  # its log is being read
    recipients, effects = subscriptions.receive(at(50, epoch="g2.y"), b"")
    assert (list(recipients), effects) == ([], [])
    [greeted, again] = subscriptions.batch_read(2, {A: page(last=60)})
    assert greeted == GreetSubscriber("two", [at(60)], [])
    assert subscriptions.batch_read(only_read([again]).batch, {A: page(last=60)}) == [
        ResetSubscriber("one", [at(60)], "gap", everything=False)
    ]
    recipients, [read] = subscriptions.receive(at(70, epoch="g2.y"), b"")
    assert isinstance(read, ReadLogs)


def test_a_frame_of_another_log_of_the_same_generation_is_delivered(
    subscriptions: Subscriptions[str],
) -> None:
    go_live(subscriptions)
    assert receive(subscriptions, at(1, epoch="g1.evicted")) == ["one"]


def test_without_a_generation_no_batch_starts() -> None:
    subscriptions: Subscriptions[str] = Subscriptions()
    subscriptions.link_up()
    subscriptions.join("one", {A: None})
    assert subscriptions.acknowledge(A) == []
    assert only_read(subscriptions.learn_generation("g1", "gap")).generation == "g1"


def test_a_slow_subscriber_gets_nothing_until_it_has_drained(
    subscriptions: Subscriptions[str],
) -> None:
    go_live(subscriptions)
    read = only_read(subscriptions.join("two", {A: None}))
    subscriptions.batch_read(read.batch, {A: page(last=10)})
    assert receive(subscriptions, at(11)) == ["one", "two"]
    subscriptions.mark_slow("one")
    assert receive(subscriptions, at(12)) == ["two"]
    assert subscriptions.join("three", {B: None}) == [SubscribeChannel(B)]
    read = only_read(subscriptions.mark_drained("one"))
    assert read.wanted == {A: at(11)}
    assert subscriptions.batch_read(read.batch, {A: page(12)}) == [
        WriteFrames("one", A, [b"12"])
    ]
    subscriptions.mark_slow("one")
    read = only_read(subscriptions.mark_drained("one"))
    assert subscriptions.batch_read(read.batch, {A: page(floor=20)}) == [
        ResetSubscriber("one", [at(20)], "lagged", everything=False)
    ]


def test_resuming_what_is_not_suspended_changes_nothing(
    subscriptions: Subscriptions[str],
) -> None:
    go_live(subscriptions)
    assert subscriptions.resume("one", A) == []
    assert subscriptions.resume("one", B) == []
    assert subscriptions.resume("unknown", A) == []
    assert receive(subscriptions, at(11)) == ["one"]


def test_a_subscriber_waits_for_the_acknowledgement_of_all_its_channels(
    subscriptions: Subscriptions[str],
) -> None:
    subscriptions.join("one", {A: None, B: None})
    assert subscriptions.acknowledge(A) == []
    assert subscriptions.acknowledge(A) == [], "once more"
    [_, read] = subscriptions.unsubscribe("one", B)
    assert read == ReadLogs(1, "g1", {A: None}), "it no longer waits for B"
    subscriptions.join("two", {A: None, B: None})
    subscriptions.batch_read(1, {A: page()})
    assert only_read(subscriptions.acknowledge(B)).wanted == {A: None, B: None}


def test_a_suspended_subscription_gets_nothing_until_it_is_resumed(
    subscriptions: Subscriptions[str],
) -> None:
    go_live(subscriptions)
    subscriptions.suspend("one", A)
    assert not subscriptions.is_caught_up("one")
    assert receive(subscriptions, at(11)) == []
    subscriptions.suspend("one", A)
    subscriptions.suspend("one", B)
    subscriptions.suspend("two", A)
    read = only_read(subscriptions.resume("one", A))
    assert read.wanted == {A: at(10)}
    subscriptions.suspend("one", A)
    assert subscriptions.batch_read(read.batch, {A: page(11)}) == []
    read = only_read(subscriptions.resume("one", A))
    assert subscriptions.batch_read(read.batch, {A: page(11)}) == [
        WriteFrames("one", A, [b"11"])
    ]
    subscriptions.suspend("one", A)
    subscriptions.learn_generation("g2", "truncate")
    recipients, effects = subscriptions.receive(at(50, epoch="g3.y"), b"")
    assert (list(recipients), effects) == ([], [])
    assert only_read(subscriptions.resume("one", A)).wanted == {A: None}
    subscriptions.suspend("one", A)
    assert subscriptions.unsubscribe("one", A) == [UnsubscribeChannel(A)]
    assert subscriptions.is_caught_up("one")
    assert subscriptions.resume("one", A) == []


def test_a_subscriber_that_becomes_slow_during_a_batch_waits_for_the_next(
    subscriptions: Subscriptions[str],
) -> None:
    subscriptions.join("one", {A: None})
    read = only_read(subscriptions.acknowledge(A))
    subscriptions.mark_slow("one")
    assert subscriptions.batch_read(read.batch, {A: page()}) == []
    assert isinstance(only_read(subscriptions.mark_drained("one")), ReadLogs)


def test_a_subscriber_that_has_left_gets_nothing(subscriptions: Subscriptions[str]) -> None:
    subscriptions.join("one", {A: None})
    subscriptions.join("two", {A: None})
    read = only_read(subscriptions.acknowledge(A))
    subscriptions.leave("one")
    assert subscriptions.batch_read(read.batch, {A: page()}) == [
        GreetSubscriber("two", [at(5)], [])
    ]
    subscriptions.mark_slow("one")
    assert subscriptions.mark_drained("one") == []
    assert subscriptions.resume("one", A) == []
    assert subscriptions.subscribe("one", A, None) == []
    assert subscriptions.unsubscribe("one", A) == []
    assert list(subscriptions.channels_of("one")) == []


def test_a_further_channel_is_confirmed_separately(subscriptions: Subscriptions[str]) -> None:
    go_live(subscriptions)
    assert subscriptions.subscribe("one", B, at(3, channel=B)) == [SubscribeChannel(B)]
    assert receive(subscriptions, at(11)) == ["one"]
    read = only_read(subscriptions.acknowledge(B))
    head = LogHead("g1.x", 1, 4)
    assert subscriptions.batch_read(read.batch, {B: LogPage(head, [frame(4, channel=B)])}) == [
        ConfirmSubscription("one", at(3, channel=B), resumed=True),
        replay("one", [b"4"], channel=B),
    ]
    assert subscriptions.unsubscribe("one", B) == [UnsubscribeChannel(B)]
    read = only_read(
        [e for e in subscriptions.subscribe("one", A, None) if isinstance(e, ReadLogs)]
    )
    assert subscriptions.batch_read(read.batch, {A: page(last=12)}) == [
        ConfirmSubscription("one", at(12), resumed=False)
    ]


def test_a_channel_that_is_left_before_it_was_read_is_not_confirmed(
    subscriptions: Subscriptions[str],
) -> None:
    go_live(subscriptions)
    subscriptions.subscribe("one", B, None)
    subscriptions.unsubscribe("one", B)
    assert subscriptions.is_caught_up("one")
    assert receive(subscriptions, at(11)) == ["one"]


def test_a_channel_added_during_a_batch_waits_for_the_next(
    subscriptions: Subscriptions[str],
) -> None:
    subscriptions.join("one", {A: None})
    read = only_read(subscriptions.acknowledge(A))
    subscriptions.subscribe("one", B, None)
    subscriptions.acknowledge(B)
    [again] = subscriptions.batch_read(read.batch, {A: page()})
    assert only_read([again]).wanted == {A: None, B: None}


def test_the_channels_of_a_batch_are_bounded(
    subscriptions: Subscriptions[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_CHANNELS_PER_BATCH", 1)
    subscriptions.join("one", {A: None})
    subscriptions.join("two", {B: None})
    read = only_read(subscriptions.acknowledge(A))
    subscriptions.acknowledge(B)
    subscriptions.join("three", {A: None})
    assert read.wanted == {A: None}
    *effects, again = subscriptions.batch_read(read.batch, {A: page()})
    assert effects == [GreetSubscriber("one", [at(5)], [])]
    assert only_read([again]).wanted == {B: None}


def test_the_subscriptions_of_a_batch_are_bounded(
    subscriptions: Subscriptions[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_SUBSCRIPTIONS_PER_BATCH", 1)
    subscriptions.join("one", {A: None})
    subscriptions.join("two", {A: None})
    first = only_read(subscriptions.acknowledge(A))
    *effects, again = subscriptions.batch_read(first.batch, {A: page()})
    assert effects == [GreetSubscriber("one", [at(5)], [])]
    *effects, _ = [*subscriptions.batch_read(only_read([again]).batch, {A: page()}), None]
    assert effects == [GreetSubscriber("two", [at(5)], [])]


def test_too_many_live_frames_during_a_batch_are_read_again(
    subscriptions: Subscriptions[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_FRAMES_PER_BATCH", 1)
    subscriptions.join("one", {A: None})
    read = only_read(subscriptions.acknowledge(A))
    receive(subscriptions, at(11))
    receive(subscriptions, at(12))
    assert subscriptions.batch_read(read.batch, {A: page(last=10)}) == [
        GreetSubscriber("one", [at(10)], []),
        ReadLogs(2, "g1", {A: at(10)}),
    ]
    assert subscriptions.batch_read(2, {A: page(11, 12)}) == [replay("one", [b"11", b"12"])]


def test_the_bytes_to_one_subscriber_in_a_batch_are_bounded(
    subscriptions: Subscriptions[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest, of one channel or of several, follows in further batches."""
    monkeypatch.setattr(module, "MAX_BYTES_PER_BATCH", 3)
    subscriptions.join("one", {A: at(5), B: at(5, channel=B)})
    subscriptions.acknowledge(A)
    read = only_read(subscriptions.acknowledge(B))
    of_b = LogPage(LogHead("g1.x", 1, 6), [frame(6, channel=B)])
    assert subscriptions.batch_read(read.batch, {A: page(6, 7, 8, 9), B: of_b}) == [
        GreetSubscriber("one", [at(5), at(5, channel=B)], [A, B]),
        replay("one", [b"6", b"7", b"8"]),
        ReadLogs(2, "g1", {A: at(8), B: at(5, channel=B)}),
    ]
    assert receive(subscriptions, at(100)) == []
    assert receive(subscriptions, at(101)) == []
    assert subscriptions.batch_read(2, {A: page(9), B: of_b}) == [
        replay("one", [b"9", b"100"]),
        ReadLogs(3, "g1", {A: at(100), B: at(5, channel=B)}),
    ]
    assert subscriptions.batch_read(3, {A: page(101), B: of_b}) == [
        replay("one", [b"101"]),
        ReadLogs(4, "g1", {B: at(5, channel=B)}),
    ]
    assert subscriptions.batch_read(4, {B: of_b}) == [replay("one", [b"6"], channel=B)]
    assert subscriptions.is_caught_up("one")
    assert receive(subscriptions, at(102)) == ["one"]


def test_a_subscriber_that_needs_another_page_queues_behind_the_others(
    subscriptions: Subscriptions[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_CHANNELS_PER_BATCH", 1)
    subscriptions.join("one", {A: at(5)})
    first = only_read(subscriptions.acknowledge(A))
    subscriptions.join("two", {B: None})
    subscriptions.acknowledge(B)
    effects = subscriptions.batch_read(first.batch, {A: page(6, last=9, more=True)})
    assert effects[-1] == ReadLogs(2, "g1", {B: None}), "two has waited longer"


def test_each_channel_counts_its_subscribers(subscriptions: Subscriptions[str]) -> None:
    subscriptions.join("ada", {A: None, B: None})
    subscriptions.join("grace", {A: None})
    assert set(subscriptions.channels) == {A, B}
    assert [subscriptions.subscriber_count(channel) for channel in (A, B)] == [2, 1]
    subscriptions.leave("ada")
    assert set(subscriptions.channels) == {A}
    assert subscriptions.subscriber_count(B) == 0

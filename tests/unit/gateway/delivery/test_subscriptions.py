"""Subscriptions, one decision at a time: who gets what, and when."""

import pytest

from gateway.delivery.effects import (
    ConfirmSubscription,
    GreetSubscriber,
    LogPage,
    ReadLogs,
    ResetSubscriber,
    SubscribeChannel,
    UnsubscribeChannel,
    WriteFrames,
)
from gateway.delivery.subscriptions import Subscriptions
from shared.protocol.replay import Loaded, LogHead, Since
from tests.unit.gateway.delivery.registry_steps import (
    A,
    B,
    at,
    frame,
    go_live,
    only_read,
    page,
    receive,
    replay,
)


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


def test_an_unexpected_acknowledgement_is_ignored(
    subscriptions: Subscriptions[str],
) -> None:
    assert subscriptions.acknowledge(A) == []
    go_live(subscriptions)
    assert subscriptions.acknowledge(A) == []


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


def test_each_channel_counts_its_subscribers(subscriptions: Subscriptions[str]) -> None:
    subscriptions.join("ada", {A: None, B: None})
    subscriptions.join("grace", {A: None})
    assert set(subscriptions.channels) == {A, B}
    assert [subscriptions.subscriber_count(channel) for channel in (A, B)] == [2, 1]
    subscriptions.leave("ada")
    assert set(subscriptions.channels) == {A}
    assert subscriptions.subscriber_count(B) == 0

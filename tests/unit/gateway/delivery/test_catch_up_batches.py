"""Catch-up batches: what shares a read, and how much one may be."""

import pytest

from gateway.delivery import catch_up as module
from gateway.delivery.effects import (
    GreetSubscriber,
    LogPage,
    ReadLogs,
)
from gateway.delivery.subscriptions import Subscriptions
from shared.protocol.replay import LogHead
from tests.unit.gateway.delivery.registry_steps import (
    A,
    B,
    at,
    frame,
    only_read,
    page,
    receive,
    replay,
)


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


def test_a_subscriber_that_becomes_slow_during_a_batch_waits_for_the_next(
    subscriptions: Subscriptions[str],
) -> None:
    subscriptions.join("one", {A: None})
    read = only_read(subscriptions.acknowledge(A))
    subscriptions.mark_slow("one")
    assert subscriptions.batch_read(read.batch, {A: page()}) == []
    assert isinstance(only_read(subscriptions.mark_drained("one")), ReadLogs)


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

"""Subscriptions when a link, a channel or a generation is lost."""

from gateway.delivery.effects import (
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
from shared.protocol.replay import LogHead
from tests.unit.gateway.delivery.registry_steps import (
    A,
    B,
    at,
    go_live,
    only_read,
    page,
    receive,
)


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

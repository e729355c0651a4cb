"""Steps of tests of ``Subscriptions``."""

from gateway.delivery.effects import (
    Effect,
    Frame,
    GreetSubscriber,
    LogPage,
    ReadLogs,
    WriteFrames,
)
from gateway.delivery.subscriptions import Subscriptions
from shared.protocol.channels import Channel
from shared.protocol.replay import Cursor, LogHead

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

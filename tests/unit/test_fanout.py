"""The fan-out between a registry and sockets: batches, bounds, what is said first."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from prometheus_client import CollectorRegistry

from gateway.core.effects import Answer, Read
from gateway.fanout import Fanout
from gateway.metrics import FanoutMetrics
from shared.core.channels import Channel, RedisNames
from shared.core.protocol import Event, Tick, publishable_event
from shared.core.replay import Cursor, LogHead

P, U = Channel("project", "p"), Channel("user", "u")
NAMES = [b"project:p", b"user:u"]


def frame(channel: Channel, row: str, offset: int) -> bytes:
    event = Event("task", row, "UPDATE", "p", datetime.now(UTC))
    part = publishable_event(event, channel)
    return part.head + f"g1.x.{offset}".encode() + part.tail


class Socket:
    """A connection that may fill up with a write."""

    user_id = "u"
    is_v1 = True

    def __init__(self) -> None:
        self.told = b""
        self.told_live = True
        self.fills = False
        self.is_full = False
        self.is_drained = True
        self.greeted = asyncio.Event()

    def write(self, frames: bytes) -> None:
        self.told += frames
        if self.fills:
            self.fills, self.is_full, self.is_drained = False, True, False

    def greet(self, _places: object, _resumed: object) -> None:
        self.told += b"connected"
        self.greeted.set()

    def tell_live(self, *, live: bool) -> None:
        self.told_live = live
        self.told += b"status"


class Logs:
    """Channel logs without any row."""

    async def prepare(self) -> None:
        pass

    async def read(self, read: Read) -> Mapping[Channel, Answer]:
        return {channel: Answer(LogHead("g1.x", 5, 5)) for channel in read.wanted}


LINK: Any = SimpleNamespace(
    subscribe=lambda _: None, unsubscribe=lambda _: None, abort=lambda: None
)


async def fanout(tasks: asyncio.TaskGroup, *, live: bool = True) -> Fanout:
    logs: Any = Logs()
    made = Fanout(
        logs,
        RedisNames(),
        FanoutMetrics(CollectorRegistry()),
        tasks,
        spread_seconds=0,
        slow_seconds=30,
    )
    made.heard(Tick("g1", "gap", live=live, at=1))
    await made.link_up(LINK)
    return made


def joined(made: Fanout) -> Any:
    socket: Any = Socket()
    made.join(socket, {P: None, U: None})
    return socket


async def test_who_fills_up_within_a_batch_is_still_told_the_rest_of_it() -> None:
    async with asyncio.TaskGroup() as tasks:
        made = await fanout(tasks)
        socket = joined(made)
        made.acknowledged(NAMES)
        await socket.greeted.wait()
        socket.fills = True
        batch: Sequence[tuple[bytes, bytes]] = [
            (NAMES[0], frame(P, "first", 100)),
            (NAMES[1], frame(U, "second", 101)),
        ]
        made.deliver(batch)
        assert b'"first"' in socket.told
        assert b'"second"' in socket.told
        made.deliver([(NAMES[0], frame(P, "third", 102))])
        assert b'"third"' not in socket.told, "it is caught up when it has drained"


async def test_nothing_is_said_before_the_greeting() -> None:
    async with asyncio.TaskGroup() as tasks:
        made = await fanout(tasks, live=False)
        socket = joined(made)
        telling = tasks.create_task(made.tell_status())
        await asyncio.sleep(0.6)  # longer than between two looks
        assert socket.told == b""
        made.acknowledged(NAMES)
        async with asyncio.timeout(10):
            while b"status" not in socket.told:
                await asyncio.sleep(0.01)
        assert socket.told == b"connectedstatus"
        telling.cancel()


async def test_channels_that_were_left_while_redis_was_away_are_forgotten() -> None:
    async with asyncio.TaskGroup() as tasks:
        made = await fanout(tasks)
        socket = joined(made)
        made.link_lost()
        made.leave(socket)
        await made.link_up(LINK)
        cursor = Cursor(P, "g1.x", 7)
        made.deliver([(NAMES[0], frame(P, "row", cursor.offset))])
        assert made._metrics.foreign._value.get() == 1, "nobody knows that channel any more"

"""A fan-out with real connections, on a fake Redis."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from prometheus_client import CollectorRegistry

from gateway.delivery.effects import LogPage, ReadLogs
from gateway.delivery.fanout import Fanout
from gateway.metrics import FanoutMetrics
from gateway.transport.clients import V1Client
from gateway.transport.connection import Connection
from gateway.transport.websocket import WebSocket
from shared.protocol.channels import Channel, RedisNames
from shared.protocol.control_messages import Tick
from shared.protocol.events import Event, publishable_event
from shared.protocol.replay import Cursor, LogHead, Since
from tests.unit.gateway.transport.fake_socket import (
    FakeTransport,
    connection,
)

P, U = Channel("project", "p"), Channel("user", "u")
NAMES = [b"project:p", b"user:u"]


def frame(channel: Channel, row: str, offset: int) -> bytes:
    event = Event("task", row, "UPDATE", "p", datetime.now(UTC))
    part = publishable_event(event, channel)
    return part.head + f"g1.x.{offset}".encode() + part.tail


def membership_frame(offset: int) -> bytes:
    event = Event("project_members", "p:u", "INSERT", "p", datetime(2000, 1, 1, tzinfo=UTC))
    part = publishable_event(event, U)
    return part.head + f"g1.x.{offset}".encode() + part.tail


class Logs:
    """Channel logs of *rows* rows each, above the floor."""

    def __init__(self, rows: int = 0, page: int = 10) -> None:
        self.rows = rows
        self.page = page
        self.reads = 0

    async def prepare(self) -> None:
        pass

    async def read(self, read: ReadLogs) -> Mapping[Channel, LogPage]:
        self.reads += 1
        return {channel: self._answer(channel, since) for channel, since in read.wanted.items()}

    def _answer(self, channel: Channel, since: Since) -> LogPage:
        head = LogHead("g1.x", 5, 5 + self.rows)
        after = 5 + self.rows if since is None else since.offset
        offsets = range(after + 1, head.last + 1)
        frames = [
            (Cursor(channel, "g1.x", offset), frame(channel, f"r{offset}", offset))
            for offset in offsets[: self.page]
        ]
        return LogPage(head, frames, more=len(offsets) > self.page)


LINK: Any = SimpleNamespace(
    subscribe=lambda _: None, unsubscribe=lambda _: None, abort=lambda: None
)


async def fanout(
    tasks: asyncio.TaskGroup,
    *,
    live: bool = True,
    logs: Logs | None = None,
    slow_seconds: float = 30,
    registry: CollectorRegistry | None = None,
) -> Fanout:
    given: Any = logs or Logs()
    made = Fanout(
        given,
        RedisNames(),
        FanoutMetrics(registry or CollectorRegistry()),
        tasks,
        spread_seconds=0,
        slow_seconds=slow_seconds,
    )
    made.receive_tick(Tick("g1", "gap", live=live, at=1))
    await made.link_up(LINK)
    return made


def joined(
    made: Fanout, tasks: asyncio.TaskGroup, *, kind: type[WebSocket] = V1Client
) -> tuple[Connection, FakeTransport]:
    transport = FakeTransport()
    made_connection = connection(tasks, transport, kind=kind)
    made.join(made_connection, {P: None, U: None})
    return made_connection, transport

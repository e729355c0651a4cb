"""Sockets are counted by kind and close code, and a bounded number of ends is logged."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from gateway.http.connection_records import LINES_PER_SECOND, ConnectionRecords
from gateway.transport.clients import PlainClient, V1Client
from gateway.transport.connection import MAX_UNREAD_BYTES, Connection
from shared.protocol.close_codes import TOKEN_EXPIRED, CloseCode
from tests.support.frames import frame
from tests.unit.gateway.transport.fake_socket import FakeTransport, connection

CLOSE = 8


def close(code: int) -> bytes:
    return frame(CLOSE, code.to_bytes(2, "big"))


def overflow(one: Connection, transport: FakeTransport) -> None:
    transport.reads = False
    one.write(bytes(MAX_UNREAD_BYTES))
    one.write(b"more")


def stay_silent(one: Connection, _: FakeTransport) -> None:
    one.is_greeted = True
    one.check(0.0)
    one.check(0.0)


ENDS: dict[str, tuple[Callable[[Connection, FakeTransport], Any], int, str]] = {
    "by us": (
        lambda one, _: one.end(CloseCode.DRAINING, "draining"),
        1012,
        "draining",
    ),
    "refused": (lambda one, _: one.end_with(TOKEN_EXPIRED), 4401, "token_expired"),
    "by the client": (
        lambda one, _: one.data_received(close(1000)),
        1000,
        "the client closed it",
    ),
    "by the client without a code": (
        lambda one, _: one.data_received(frame(CLOSE, b"")),
        1005,
        "the client closed it",
    ),
    "with what is no frame": (
        lambda one, _: one.data_received(b"\xff\x80" + bytes(4)),
        1002,
        "the reserved bits must be 0",
    ),
    "lost": (lambda *_: None, 1006, "the connection was lost"),
    "silent": (stay_silent, 1006, "the client answered no ping"),
    "unread": (overflow, 1006, "the client left too much unread"),
}


@pytest.mark.parametrize("end", ENDS)
async def test_a_socket_is_counted_and_logged_with_how_it_ended(
    end: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    run, code, reason = ENDS[end]
    registry = CollectorRegistry()
    records = ConnectionRecords(registry)
    async with asyncio.TaskGroup() as tasks:
        transport = FakeTransport()
        one = connection(tasks, transport)
        records.opened(one)
        assert registry.get_sample_value("neverstale_sockets", {"kind": "v1"}) == 1
        run(one, transport)
        one.connection_lost(None)
        records.ended(one)
    assert registry.get_sample_value("neverstale_sockets", {"kind": "v1"}) == 0
    closed = {"kind": "v1", "code": str(code)}
    assert registry.get_sample_value("neverstale_sockets_closed_total", closed) == 1
    [line] = [vars(record) for record in caplog.records]
    assert line["message"] == "connection ended"
    assert (line["code"], line["reason"]) == (code, reason)
    assert (line["kind"], line["connection"]) == ("v1", one.number)
    assert "user_id" not in line


async def test_codes_of_clients_are_a_closed_set() -> None:
    registry = CollectorRegistry()
    records = ConnectionRecords(registry)
    async with asyncio.TaskGroup() as tasks:
        for code in (3001, 3002):
            one = connection(tasks, FakeTransport(), kind=PlainClient)
            records.opened(one)
            one.data_received(close(code))
            records.ended(one)
    other = {"kind": "plain", "code": "other"}
    assert registry.get_sample_value("neverstale_sockets_closed_total", other) == 2


async def test_of_many_that_end_at_once_most_are_only_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    records = ConnectionRecords(CollectorRegistry())
    async with asyncio.TaskGroup() as tasks:
        for _ in range(LINES_PER_SECOND + 25):
            one = connection(tasks, FakeTransport(), kind=V1Client)
            records.opened(one)
            records.ended(one)
        assert len(caplog.records) == LINES_PER_SECOND
        running = tasks.create_task(records.run())
        await asyncio.sleep(0)
        running.cancel()
    last = vars(caplog.records[-1])
    assert last["message"] == "connections ended without a line of their own"
    assert last["count"] == 25

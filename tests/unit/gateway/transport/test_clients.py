"""What a plain and a v1 client are sent for the same occasion."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

import orjson
import pytest

from gateway.transport.clients import PlainClient, V1Client
from gateway.transport.connection import Connection
from gateway.transport.websocket import WebSocket
from shared.protocol.channels import Channel
from shared.protocol.close_codes import FORBIDDEN
from shared.protocol.replay import Cursor
from tests.unit.gateway.transport.fake_socket import FakeTransport, connection

Frame: TypeAlias = dict[str, Any] | int
PROJECT, USER = Channel("project", "p"), Channel("user", "u")
CURSORS = [Cursor(PROJECT, "g.r", 5), Cursor(USER, "g.r", 6)]
BY_CHANNEL = {"project:p": "project:p.g.r.5", "user:u": "user:u.g.r.6"}


def sent(transport: FakeTransport) -> list[Frame]:
    """The text frames, and the code of a Close frame; all are shorter than 64 KiB."""
    frames: list[Frame] = []
    rest = transport.told
    while rest:
        opcode, length, start = rest[0] & 0x0F, rest[1], 2
        if length == 126:
            length, start = int.from_bytes(rest[2:4], "big"), 4
        payload, rest = rest[start : start + length], rest[start + length :]
        is_close = opcode == 8
        frames.append(int.from_bytes(payload[:2], "big") if is_close else orjson.loads(payload))
    return frames


def reset_all(client: Connection) -> None:
    client.reset(CURSORS, "gap", project_id=None, spread_seconds=0)


ACCESS_CHANGED = {
    "type": "reconnect",
    "data": {"reason": "access_changed"},
    "project_id": "p",
}
ERROR = {"type": "error", "code": FORBIDDEN.code, "message": FORBIDDEN.message}
OCCASIONS: dict[str, tuple[Callable[[Connection], object], list[Frame], list[Frame]]] = {
    "greeting": (
        lambda client: client.greet(CURSORS, [USER]),
        [{"type": "reconnect", "data": {"reason": "connected"}}],
        [{"type": "connected", "cursors": BY_CHANNEL, "resumed": ["user:u"], "heartbeat": 30}],
    ),
    "subscription": (
        lambda client: client.confirm_subscription(CURSORS[0], resumed=True),
        [],
        [
            {
                "type": "subscribed",
                "project_id": "p",
                "cursor": "project:p.g.r.5",
                "resumed": True,
            }
        ],
    ),
    "reset": (
        reset_all,
        [{"type": "reconnect", "data": {"reason": "gap"}}],
        [
            {
                "type": "reconnect",
                "data": {"reason": "gap"},
                "spread_ms": 0,
                "cursors": BY_CHANNEL,
            }
        ],
    ),
    "loss of one of several projects": (
        lambda client: client.revoke("p", has_others=True),
        [4403],
        [{"type": "unsubscribed", "project_id": "p", "reason": "revoked"}],
    ),
    "loss of the last project": (
        lambda client: client.revoke("p", has_others=False),
        [4403],
        [4403],
    ),
    "events that change access": (
        lambda client: client.send_access_changes(["p"]),
        [ACCESS_CHANGED],
        [],
    ),
    "no leader": (
        lambda client: client.report_liveness(live=False),
        [],
        [{"type": "status", "live": False}],
    ),
    "a token that expires": (
        lambda client: [client.warn_of_expiry(seconds) for seconds in (900, 60.2, 59.8, 9)],
        [],
        [{"type": "token_expiring", "in": 60}],
    ),
    "a refusal": (lambda client: client.end_with(FORBIDDEN), [4403], [ERROR, 4403]),
}


@pytest.mark.parametrize("occasion", OCCASIONS)
@pytest.mark.parametrize("kind", [PlainClient, V1Client])
async def test_each_kind_of_client_is_sent_its_frames(
    occasion: str, kind: type[WebSocket]
) -> None:
    act, plain, v1 = OCCASIONS[occasion]
    async with asyncio.TaskGroup() as tasks:
        transport = FakeTransport()
        act(connection(tasks, transport, kind=kind))
        for _ in range(3):  # a plain client's reset has a timer of 0 s
            await asyncio.sleep(0)
    assert sent(transport) == (plain if kind is PlainClient else v1)


@pytest.mark.parametrize("kind", [PlainClient, V1Client])
async def test_reported_liveness_is_remembered(kind: type[WebSocket]) -> None:
    async with asyncio.TaskGroup() as tasks:
        client = connection(tasks, FakeTransport(), kind=kind)
        assert client.reported_live
        client.report_liveness(live=False)
        assert not client.reported_live


@pytest.mark.parametrize(
    ("projects", "told"),
    [(["p", "p"], "p"), (["p", "q"], None), (["p", None], None), ([None, "p", None], None)],
)
async def test_resets_that_a_plain_client_waits_for_are_merged(
    projects: list[str | None], told: str | None
) -> None:
    async with asyncio.TaskGroup() as tasks:
        transport = FakeTransport()
        client = connection(tasks, transport, kind=PlainClient)
        for project_id in projects:
            client.reset(CURSORS, "gap", project_id=project_id, spread_seconds=0)
        assert transport.told == b""
        async with asyncio.timeout(10):
            while not transport.told:
                await asyncio.sleep(0)
    [frame] = sent(transport)
    assert isinstance(frame, dict)
    assert frame.get("project_id") == told


async def test_a_new_token_is_warned_of_again_and_a_short_one_at_half_its_life() -> None:
    async with asyncio.TaskGroup() as tasks:
        transport = FakeTransport()
        client = connection(tasks, transport)
        for seconds in (20.0, 11.0, 10.0, 9.0):
            client.warn_of_expiry(seconds)
        client.renew(replace(client.identity, expires_at=1))
        assert client.identity.expires_at == 1
        for seconds in (100.0, 50.0, 40.0, -1.0):
            client.warn_of_expiry(seconds)
        frames: list[Frame] = [
            {"type": "token_expiring", "in": seconds} for seconds in (10, 50)
        ]
        assert sent(transport) == frames

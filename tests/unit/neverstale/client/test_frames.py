"""Frames are read as the gateway writes them; what cannot be read is an error."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from neverstale.client.frames import (
    SUBPROTOCOL,
    Changed,
    CloseCode,
    Connected,
    Error,
    Liveness,
    MalformedFrame,
    Other,
    Reconnect,
    Subscribed,
    TokenExpiring,
    Unsubscribed,
    is_user_channel,
    parse_endpoint,
    parse_frame,
)
from shared.protocol import close_codes, frames
from tests.unit.neverstale.client.driver import change

P = "a9011000-0000-4000-8000-000000000001"
AT = datetime(2026, 11, 24, 10, 0, 0, 123456, UTC)
VECTORS = {
    vector["name"]: vector["text"]
    for vector in json.loads(
        (Path(__file__).parents[3] / "vectors" / "frames.json").read_text()
    )
}
PROJECT = {f"project:{P}": f"project:{P}.g.r.5"}


FRAMES = {
    "cache_invalidate": Changed(
        "task",
        "T",
        "UPDATE",
        P,
        AT,
        is_access_change=False,
        channel=f"project:{P}",
        cursor=f"project:{P}.g.r.5",
    ),
    "cache_invalidate that may change access": Changed(
        "team_members",
        "T",
        "INSERT",
        P,
        AT,
        is_access_change=True,
        channel="user:U",
        cursor="user:U.g.r.5",
    ),
    "reconnect through a log": Reconnect(P, "bulk_change", 0.0, PROJECT),
    "reconnect, plain": Reconnect(None, "connected", 0.0, {}),
    "reconnect of a project, v1": Reconnect(P, "gap", 0.0, PROJECT),
    "reconnect of everything, v1": Reconnect(None, "log_lost", 2.0, PROJECT),
    "connected": Connected(PROJECT, frozenset(), 30.0),
    "connected, resumed": Connected(PROJECT, frozenset(PROJECT), 30.0),
    "subscribed": Subscribed(P, f"project:{P}.g.r.5", is_resumed=True),
    "unsubscribed": Unsubscribed(P, is_revoked=False),
    "status": Liveness(is_live=False),
    "token_expiring": TokenExpiring(),
    "auth_ok": Other(),
    "error": Error("bad_request", "no", None),
    "error of a project": Error("forbidden", "no", P),
}


@pytest.mark.parametrize("name", FRAMES)
def test_every_frame_of_the_protocol_is_read(name: str) -> None:
    assert parse_frame(VECTORS[name]) == FRAMES[name]


def test_all_vectors_of_frames_are_tested() -> None:
    assert FRAMES.keys() == VECTORS.keys() - {"refusal"}  # the body of an HTTP answer


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "{}",
        '{"type": 7}',
        '{"type": "reconnect"}',
        '{"type": "reconnect", "data": {"reason": "gap"}, "cursors": {"project:P": 7}}',
        '{"type": "reconnect", "data": {"reason": "gap"}, "spread_ms": "soon"}',
        '{"type": "connected", "cursors": [], "resumed": [], "heartbeat": 30}',
        '{"type": "connected", "cursors": {}, "resumed": [], "heartbeat": "soon"}',
        '{"type": "error", "code": "forbidden", "message": "no", "project_id": 7}',
        json.dumps(change() | {"action": "TRUNCATE"}),
        json.dumps(change() | {"data": {"id": "T", "timestamp": "now"}}),
        json.dumps(change() | {"cursor": None}),
    ],
)
def test_what_is_no_frame_of_a_gateway_is_an_error(text: str) -> None:
    with pytest.raises(MalformedFrame):
        parse_frame(text)


def test_frames_and_fields_of_newer_gateways_are_ignored() -> None:
    assert parse_frame('{"type":"weather"}') == parse_frame('{"type":"pong","new":1}')
    assert parse_frame('{"type":"status","live":true,"new":1}') == Liveness(is_live=True)


@pytest.mark.parametrize(
    ("frame", "is_access_change"),
    [
        ({"access": True}, True),
        ({}, False),
        ({"resource": "project_members"}, True),
        ({"resource": "project", "action": "INSERT"}, True),
        ({"resource": "project", "action": "UPDATE"}, False),
        ({"access": True, "project_id": None}, False),
        ({"access": True, "channel": "project:P"}, False),
    ],
)
def test_access_may_change_by_marked_events_and_those_of_older_servers(
    frame: dict[str, Any], *, is_access_change: bool
) -> None:
    parsed = parse_frame(json.dumps(change(channel="user:U") | frame))
    assert isinstance(parsed, Changed)
    assert parsed.is_access_change == is_access_change


def test_the_client_and_the_gateway_agree_on_names_and_codes() -> None:
    assert SUBPROTOCOL == frames.SUBPROTOCOL
    for code in CloseCode:
        assert close_codes.CloseCode[code.name].value == code.value
    assert is_user_channel("user:U")
    assert not is_user_channel("project:user:U")


def test_an_endpoint_is_an_address_without_a_query() -> None:
    assert parse_endpoint("wss://host:8443/ws?x=1#y") == "wss://host:8443/ws"
    assert parse_endpoint("http://host/ws") == "http://host/ws"
    for url in ("host/ws", "ftp://host/ws", "wss:///ws", ""):
        with pytest.raises(ValueError, match="endpoint"):
            parse_endpoint(url)

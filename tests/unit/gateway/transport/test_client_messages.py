import pytest

from gateway.transport.client_messages import (
    Auth,
    ClientMessage,
    InvalidMessage,
    Ping,
    Subscribe,
    Unsubscribe,
    cost_of,
    parse_message,
)
from shared.protocol.channels import Channel
from shared.protocol.replay import Cursor


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ('{"type":"ping","more":1}', Ping()),
        ('{"type":"subscribe","project_id":"007"}', Subscribe("7", None, None)),
        ('{"type":"subscribe","project_id":7,"age":1500}', Subscribe("7", None, 1.5)),
        (
            '{"type":"subscribe","project_id":7,"since":"project:7.g.r.5"}',
            Subscribe("7", Cursor(Channel("project", "7"), "g.r", 5), None),
        ),
        ('{"type":"subscribe","project_id":7,"since":"forged"}', Subscribe("7", None, None)),
        ('{"type":"unsubscribe","project_id":7}', Unsubscribe("7")),
        ('{"type":"auth","token":"a.b.c"}', Auth("a.b.c")),
    ],
)
def test_a_message_is_taken_as_it_was_meant(text: str, meant: ClientMessage) -> None:
    assert parse_message(text, "bigint") == meant


@pytest.mark.parametrize(
    ("message", "size", "cost"),
    [
        (Ping(), 15, 0),
        (Unsubscribe("7"), 40, 0),
        (Subscribe("7", None, None), 40, 5),
        (Auth("a.b.c"), 8192, 2),
        (InvalidMessage("no JSON"), 65_536, 16),
    ],
    ids=["ping", "unsubscribe", "subscribe", "auth", "garbage"],
)
def test_a_message_costs_what_following_it_takes(
    message: ClientMessage, size: int, cost: int
) -> None:
    assert cost_of(message, size) == cost


@pytest.mark.parametrize(
    "text",
    [
        "garbage",
        "[]",
        "{}",
        '{"type":7}',
        '{"type":"dance"}',
        '{"type":"subscribe"}',
        '{"type":"auth"}',
        '{"type":"subscribe","project_id":true}',
        '{"type":"unsubscribe","project_id":"x"}',
        '{"type":"subscribe","project_id":7,"since":5}',
        '{"type":"subscribe","project_id":7,"age":"5"}',
        '{"type":"subscribe","project_id":7,"age":-1}',
        '{"type":"subscribe","project_id":7,"age":true}',
    ],
)
def test_what_cannot_be_followed_is_a_mistake(text: str) -> None:
    assert isinstance(parse_message(text, "bigint"), InvalidMessage)


def test_a_token_is_in_no_representation() -> None:
    assert "a.b.c" not in repr(Auth("a.b.c"))

from typing import Any

import pytest

from gateway.auth.origins import is_origin_allowed, parse_origin, parse_rule
from gateway.delivery.liveness import Liveness
from gateway.delivery.writes import MAX_CHUNK_BYTES, join_frames, split_messages
from gateway.http.handshake import ClientCursors, HandshakeRequest, Ticket, TokenSources
from gateway.transport.client_messages import (
    Auth,
    InvalidMessage,
    Message,
    Ping,
    Subscribe,
    Unsubscribe,
    cost_of,
    parse_message,
)
from shared.protocol.channels import Channel
from shared.protocol.close_codes import Refusal
from shared.protocol.messages import Tick, encode_text_frame
from shared.protocol.replay import Cursor, Loaded


def offer(**given: Any) -> HandshakeRequest:
    fields: dict[str, Any] = {
        "method": "GET",
        "http_version": (1, 1),
        "connection": ["keep-alive, Upgrade"],
        "upgrade": ["WebSocket"],
        "version": ["13"],
        "authorization": [],
        "subprotocols": [],
        "cookies": [],
        "origin": [],
        "host": ["app.test"],
        "forwarded_proto": [],
        "tickets": [],
        "query_tokens": [],
        "project_ids": ["7"],
        "cursors": [],
        "ages": [],
    }
    return HandshakeRequest(**{**fields, **given})


def test_a_websocket_request_is_known_by_its_headers() -> None:
    assert offer().is_websocket
    assert not offer(upgrade=["h2c"]).is_websocket
    assert not offer(connection=["close"]).is_websocket
    assert not offer(version=["8"]).is_websocket
    assert not offer(version=[]).is_websocket
    assert not offer(method="HEAD").is_websocket
    assert not offer(http_version=(1, 0)).is_websocket
    assert not offer(http_version=(2, 0)).is_websocket


def test_a_v1_client_offers_the_subprotocol() -> None:
    assert offer(subprotocols=["chat, neverstale.v1"]).is_v1
    assert offer(subprotocols=["chat", "neverstale.v1"]).is_v1
    assert not offer(subprotocols=["neverstale.v2"]).is_v1
    assert not offer().is_v1


SOURCES = TokenSources([parse_rule("*.friend.test")])
WITH_QUERY = TokenSources(allow_query=True)
V1 = "neverstale.v1, bearer."


@pytest.mark.parametrize(
    ("given", "token"),
    [
        ({"authorization": ["Bearer a.b.c"]}, "a.b.c"),
        ({"authorization": ["bearer  a.b.c "]}, "a.b.c"),
        ({"subprotocols": [V1 + "a.b.c"]}, "a.b.c"),
        ({"subprotocols": [V1]}, ""),
        ({"authorization": ["Bearer h"], "subprotocols": [V1 + "s"]}, "h"),
        ({"cookies": ["a=b; access_token=c; d"], "origin": ["https://app.test"]}, "c"),
        ({"cookies": ["a=b", "access_token=c"], "origin": ["http://app.test"]}, "c"),
        ({"cookies": ["access_token="], "origin": ["https://app.test"]}, ""),
        ({"cookies": ["access_token=c=="], "origin": ["https://a.friend.test"]}, "c=="),
        ({"subprotocols": [V1 + "s"], "cookies": ["access_token=c"]}, "s"),
        ({"authorization": ["Bearer h"], "cookies": ["access_token=c"]}, "h"),
    ],
)
def test_the_first_place_with_a_token_decides(given: dict[str, list[str]], token: str) -> None:
    assert offer(**given, query_tokens=["q"]).token(SOURCES) == token


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({}, 401),
        ({"query_tokens": ["q"]}, 401),
        ({"authorization": ["Basic x"]}, 401),
        ({"authorization": ["Bearer"]}, 401),
        ({"authorization": ["Bearer a", "Bearer b"]}, 401),
        ({"authorization": ["Basic x"], "subprotocols": [V1 + "s"]}, 401),
        ({"subprotocols": ["bearer.s"]}, 400),
        ({"subprotocols": [V1 + "a, bearer.b"]}, 400),
        ({"cookies": ["access_token=c"]}, 403),
        ({"cookies": ["access_token=c"], "origin": ["https://evil.test"]}, 403),
        ({"cookies": ["access_token=c"], "origin": ["https://app.test"] * 2}, 403),
        ({"cookies": ["access_token=c"], "origin": ["https://app.test"], "host": []}, 403),
        (
            {"cookies": ["access_token=a; access_token=b"], "origin": ["https://app.test"]},
            400,
        ),
    ],
)
def test_a_token_that_is_not_there_or_twice_is_refused(
    given: dict[str, list[str]], status: int
) -> None:
    refusal = offer(**given).token(SOURCES)
    assert isinstance(refusal, Refusal)
    assert refusal.status == status


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, Ticket("t")),
        ({"tickets": ["t", "u"]}, 400),
        ({"tickets": [""]}, Ticket("")),
        ({"authorization": ["Bearer h"]}, "h"),
        ({"subprotocols": [V1 + "s"]}, "s"),
        ({"cookies": ["access_token=c"], "origin": ["https://app.test"]}, "c"),
        ({"cookies": ["access_token=c"]}, 403),
    ],
)
def test_a_ticket_comes_after_the_cookie_and_before_the_query(
    given: dict[str, list[str]], told: object
) -> None:
    token = offer(**{"tickets": ["t"], "query_tokens": ["q"], **given}).token(WITH_QUERY)
    assert (token.status if isinstance(token, Refusal) else token) == told


def test_a_token_in_the_query_counts_only_where_that_is_switched_on() -> None:
    assert offer(query_tokens=["q"]).token(WITH_QUERY) == "q"
    twice = offer(query_tokens=["q", "q"]).token(WITH_QUERY)
    assert isinstance(twice, Refusal)
    assert twice.status == 400
    header = offer(authorization=["Basic x"], query_tokens=["q"]).token(WITH_QUERY)
    assert isinstance(header, Refusal)


@pytest.mark.parametrize(
    ("origin", "host", "rules", "allowed"),
    [
        ("https://app.test", "app.test", "", True),
        ("http://app.test", "app.test", "", True),
        ("https://APP.test", "app.TEST", "", True),
        ("https://app.test", "app.test:443", "", True),
        ("https://app.test:443", "app.test", "", True),
        ("http://app.test:80", "app.test", "", True),
        ("http://app.test:8080", "app.test:8080", "", True),
        ("http://app.test:8080", "app.test:8081", "", False),
        ("http://app.test", "app.test:443", "", False),
        ("https://app.test", "other.test", "", False),
        ("https://app.test.evil.test", "app.test", "", False),
        ("https://evil-app.test", "app.test", "", False),
        ("http://[::1]:3000", "[::1]:3000", "", True),
        ("http://[0:0::1]", "[::1]", "", True),
        ("http://[::2]", "[::1]", "", False),
        ("http://[:::]", "[:::]", "", False),
        ("http://127.0.0.1:3000", "127.0.0.1:3000", "", True),
        ("null", "app.test", "*.test", False),
        ("null", "null", "null", False),
        ("", "app.test", "", False),
        ("app.test", "app.test", "", False),
        ("https://", "", "", False),
        ("https://app.test/", "app.test", "", False),
        ("https://app.test", "app.test/", "", False),
        ("https://app.test@evil.test", "app.test", "", False),
        ("https://app.test:0", "app.test:0", "", False),
        ("https://app.test:65536", "app.test:65536", "", False),
        ("https://app.test\n", "app.test", "", False),
        ("https://\u00e4pp.test", "\u00e4pp.test", "", False),
        ("https://*.test", "*.test", "", False),
        ("https://a.test https://app.test", "app.test", "", False),
        ("https://a.test", "app.test", "a.test", True),
        ("http://a.test", "app.test", "a.test", True),
        ("https://a.test:8443", "app.test", "a.test", False),
        ("https://a.test:8443", "app.test", "a.test:8443", True),
        ("http://a.test", "app.test", "https://a.test", False),
        ("https://a.test", "app.test", "https://a.test", True),
        ("https://b.a.test", "app.test", "a.test", False),
        ("https://b.a.test", "app.test", "x.test, *.A.test", True),
        ("https://c.b.a.test", "app.test", "*.a.test", True),
        ("https://a.test", "app.test", "*.a.test", False),
        ("https://evila.test", "app.test", "*.a.test", False),
        ("https://b.a.test", "app.test", "https://*.a.test:443", True),
        ("ftp://a.test", "app.test", "a.test", False),
        ("capacitor://localhost", "app.test", "capacitor://localhost", True),
    ],
)
def test_an_origin_is_the_same_host_or_one_that_is_allowed(
    origin: str, host: str, rules: str, allowed: bool
) -> None:
    parsed = [parse_rule(rule.strip()) for rule in rules.split(",") if rule]
    assert is_origin_allowed(origin, host, parsed, is_tls=False) is allowed


@pytest.mark.parametrize(
    ("origin", "forwarded_proto", "allowed"),
    [
        ("https://app.test", [], True),
        ("http://app.test", [], True),
        ("ftp://app.test", [], False),
        ("chrome-extension://app.test", [], False),
        ("https://app.test", ["https"], True),
        ("http://app.test", ["https"], False),
        ("http://app.test", ["wss"], False),
        ("http://app.test", ["HTTPS, http"], False),
        ("http://app.test", ["https", "http"], False),
        ("http://app.test", ["http, https"], True),
        ("https://app.test", ["http"], True),  # a proxy behind the one that ends TLS says this
        ("http://app.test", [""], True),
        ("http://friend.test", ["https"], True),
        ("http://b.friend.test", ["https"], False),
    ],
)
def test_a_page_without_tls_counts_for_nothing_where_the_gateway_has_it(
    origin: str, forwarded_proto: list[str], allowed: bool
) -> None:
    sources = TokenSources([parse_rule("friend.test")])
    token = offer(
        cookies=["access_token=c"], origin=[origin], forwarded_proto=forwarded_proto
    ).token(sources)
    assert (token == "c") is allowed
    assert allowed or (isinstance(token, Refusal) and token.status == 403)


@pytest.mark.parametrize("rule", ["", "*", "*.", "https://", "a.test/x", "a.*.test", "a b"])
def test_what_names_no_host_is_no_rule(rule: str) -> None:
    with pytest.raises(ValueError, match="must be hosts"):
        parse_rule(rule)
    assert parse_origin(rule) is None


def test_the_project_is_canonical_or_refused() -> None:
    assert offer(project_ids=["007"]).project_id("bigint") == "7"
    assert offer(project_ids=["7", "7"]).project_id("bigint") == "7"
    assert offer(project_ids=["", "7"]).project_id("bigint") == "7"
    for wrong in ([], [""], ["x"], ["7", "8"]):
        refusal = offer(project_ids=wrong).project_id("bigint")
        assert isinstance(refusal, Refusal)
        assert refusal.code == "bad_request"


def frame(row: int, at: int) -> bytes:
    return b'{"id":%d,"timestamp":"%d"}' % (row, at)


def test_one_write_has_each_row_once_in_its_newest_position() -> None:
    joined = join_frames([frame(1, 1), frame(2, 2), frame(1, 3)])
    assert joined == encode_text_frame(frame(2, 2)) + encode_text_frame(frame(1, 3))
    assert join_frames([frame(1, 1)]) == encode_text_frame(frame(1, 1))


def test_messages_are_split_into_chunks_in_order() -> None:
    half = MAX_CHUNK_BYTES // 2
    sizes = [half, half, 1, 3 * half, 1, 1]
    messages = [(b"name", b"x" * size) for size in sizes]
    chunks = [[len(payload) for _, payload in chunk] for chunk in split_messages(messages)]
    assert chunks == [[half, half], [1], [3 * half], [1, 1]]
    assert list(split_messages([])) == []


def test_reconnects_are_never_merged_with_others() -> None:
    reconnects = [b'{"type":"reconnect","cursors":{"c":"%d"}}' % number for number in (1, 2)]
    assert join_frames(reconnects) == b"".join(map(encode_text_frame, reconnects))


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
def test_a_message_is_taken_as_it_was_meant(text: str, meant: Message) -> None:
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
    message: Message, size: int, cost: int
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
    assert "a.b.c" not in repr(Ticket("a.b.c"))


AS_V1 = {"subprotocols": ["neverstale.v1"]}


def test_a_v1_client_may_leave_the_project_out() -> None:
    assert offer(**AS_V1, project_ids=[]).project_id("bigint") is None
    assert offer(**AS_V1, project_ids=[""]).project_id("bigint") is None


def test_a_returning_client_says_what_it_holds() -> None:
    seven, user = Channel("project", "7"), Channel("user", "u")
    held = offer(**AS_V1, cursors=["project:7.g.r.5", "forged", "user:u.g.r.6"], ages=["1500"])
    assert held.held() == ClientCursors(
        {seven: Cursor(seven, "g.r", 5), user: Cursor(user, "g.r", 6)}, 1.5
    )
    assert offer(**AS_V1).held() == ClientCursors({}, None)
    assert offer(cursors=["project:7.g.r.5"], ages=["x"]).held() == ClientCursors({}, None)


@pytest.mark.parametrize("ages", [["x"], ["-1"], ["1.5"], ["1", "2"], [""], ["1" * 16]])
def test_an_age_that_is_none_is_refused(ages: list[str]) -> None:
    refusal = offer(**AS_V1, ages=ages).held()
    assert isinstance(refusal, Refusal)
    assert refusal.code == "bad_request"


def ticks(*times: tuple[float, int]) -> Liveness:
    made = Liveness(0.0)
    for now, at in times:
        made.record(Tick("g", "gap", live=True, at=at), now)
    return made


def test_a_page_is_complete_up_to_a_second_before_the_last_tick_before_it() -> None:
    made = ticks((10.0, 50_000_000), (11.0, 51_000_000), (12.0, 52_000_000))
    assert made.loaded(0.0, 16.9) == Loaded(50_000_000)
    assert made.loaded(0.9, 16.9) == Loaded(49_000_000)
    assert made.loaded(2.0, 16.9) is None


def test_ticks_are_forgotten_after_a_reset_or_when_their_time_did_not_grow() -> None:
    made = ticks((10.0, 50_000_000))
    made.forget()
    assert made.loaded(0.0, 100.0) is None
    made = ticks((10.0, 50_000_000), (11.0, 50_000_000))
    assert made.loaded(0.0, 15.9) is None
    assert made.loaded(0.0, 16.0) == Loaded(49_000_000)
    made = ticks((10.0, 50_000_000), (131.0, 171_000_000))
    assert made.loaded(0.0, 131.0) is None


def test_without_ticks_nothing_is_live() -> None:
    made = Liveness(100.0)
    assert made.is_live(104.9)
    assert not made.is_live(105.0)
    made.record(Tick("g", "gap", live=True, at=1), 110.0)
    assert made.is_live(114.9)
    made.record(Tick("g", "gap", live=False, at=2), 111.0)
    assert not made.is_live(111.0)

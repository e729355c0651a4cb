from typing import Any

import pytest

from gateway.auth.origins import parse_rule
from gateway.http.handshake import ClientCursors, HandshakeRequest, Ticket, TokenSources
from shared.protocol.channels import Channel
from shared.protocol.close_codes import Refusal
from shared.protocol.replay import Cursor

KEY = "dGhlIHNhbXBsZSBub25jZQ=="


def offer(**given: Any) -> HandshakeRequest:
    fields: dict[str, Any] = {
        "method": "GET",
        "http_version": (1, 1),
        "connection": ["keep-alive, Upgrade"],
        "upgrade": ["WebSocket"],
        "version": ["13"],
        "keys": [KEY],
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


def test_a_handshake_has_one_valid_key() -> None:
    assert offer().key == KEY
    for keys in ([], [KEY, KEY], ["x"]):
        assert offer(keys=keys).key is None


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


def test_the_project_is_canonical_or_refused() -> None:
    assert offer(project_ids=["007"]).projects("bigint") == {"007": "7"}
    assert offer(project_ids=["7", "7"]).projects("bigint") == {"7": "7"}
    assert offer(project_ids=["", "7"]).projects("bigint") == {"7": "7"}
    for wrong in ([], [""], ["7", "8"]):
        refusal = offer(project_ids=wrong).projects("bigint")
        assert isinstance(refusal, Refusal)
        assert refusal.code == "bad_request"
    projects = offer(project_ids=["x"]).projects("bigint")
    assert isinstance(projects, dict)
    assert isinstance(projects["x"], Refusal)


def test_a_stream_may_have_many_projects_of_which_some_are_malformed() -> None:
    stream = offer(is_stream=True, project_ids=["7", "x", "8"])
    projects = stream.projects("bigint")
    assert isinstance(projects, dict)
    assert (projects["7"], projects["8"]) == ("7", "8")
    assert isinstance(projects["x"], Refusal)
    assert offer(is_stream=True, project_ids=[]).projects("bigint") == {}


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        ([], None),
        (["text/event-stream"], None),
        (["application/json, Text/*;q=0.5"], None),
        (["text/html", "*/*"], None),
        (["application/json"], 406),
        (["text/event-stream-not, text/html"], 406),
    ],
)
def test_a_stream_is_an_answer_that_the_client_accepts(
    accept: list[str], status: int | None
) -> None:
    refusal = offer(is_stream=True, accept=accept, upgrade=[], keys=[]).refuse_form()
    assert (refusal and refusal.status) == status


def test_a_handshake_without_its_headers_is_refused() -> None:
    assert offer().refuse_form() is None
    refusals = [offer(upgrade=[]).refuse_form(), offer(keys=[]).refuse_form()]
    assert [refusal and refusal.status for refusal in refusals] == [426, 400]


def test_a_stream_resumes_from_its_last_event_rather_than_from_its_url() -> None:
    seven, user = Channel("project", "7"), Channel("user", "u")
    stream = offer(
        is_stream=True,
        cursors=["project:7.g.r.5", "project:8.g.r.5"],
        last_event_ids=["project:7.g.r.9,user:u.g.r.6, forged"],
    )
    held = stream.client_cursors()
    assert isinstance(held, ClientCursors)
    assert held.cursors == {
        seven: Cursor(seven, "g.r", 9),
        user: Cursor(user, "g.r", 6),
        Channel("project", "8"): Cursor(Channel("project", "8"), "g.r", 5),
    }


@pytest.mark.parametrize(
    ("given", "is_accepted"),
    [
        ({"fetch_site": ["same-origin"]}, True),
        ({"fetch_site": ["same-site"]}, False),
        ({"fetch_site": ["none"]}, False),
        ({"fetch_site": []}, False),
        ({"fetch_site": ["same-origin"], "origin": ["https://evil.test"]}, False),
        ({"fetch_site": ["same-origin"], "is_stream": False}, False),
        ({"origin": ["https://app.test"]}, True),
    ],
)
def test_a_stream_has_a_cookie_of_a_page_of_its_own_origin(
    given: dict[str, Any], is_accepted: bool
) -> None:
    """A browser sends no ``Origin`` with a GET to the page's own."""
    stream = offer(**{"is_stream": True, "cookies": ["access_token=c"], **given})
    token = stream.token(TokenSources())
    assert (token == "c") is is_accepted
    assert is_accepted or (isinstance(token, Refusal) and token.status == 403)


AS_V1 = {"subprotocols": ["neverstale.v1"]}


def test_a_v1_client_may_leave_the_project_out() -> None:
    assert offer(**AS_V1, project_ids=[]).projects("bigint") == {}
    assert offer(**AS_V1, project_ids=[""]).projects("bigint") == {}


def test_a_returning_client_says_what_it_holds() -> None:
    seven, user = Channel("project", "7"), Channel("user", "u")
    held = offer(**AS_V1, cursors=["project:7.g.r.5", "forged", "user:u.g.r.6"], ages=["1500"])
    assert held.client_cursors() == ClientCursors(
        {seven: Cursor(seven, "g.r", 5), user: Cursor(user, "g.r", 6)}, 1.5
    )
    assert offer(**AS_V1).client_cursors() == ClientCursors({}, None)
    plain = offer(cursors=["project:7.g.r.5"], ages=["x"])
    assert plain.client_cursors() == ClientCursors({}, None)


@pytest.mark.parametrize("ages", [["x"], ["-1"], ["1.5"], ["1", "2"], [""], ["1" * 16]])
def test_an_age_that_is_none_is_refused(ages: list[str]) -> None:
    refusal = offer(**AS_V1, ages=ages).client_cursors()
    assert isinstance(refusal, Refusal)
    assert refusal.code == "bad_request"


def test_a_ticket_is_in_no_representation() -> None:
    assert "a.b.c" not in repr(Ticket("a.b.c"))

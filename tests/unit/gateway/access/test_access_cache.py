"""The access cache: cached answers, rechecks, and answers that a recheck has overtaken."""

import pytest

from gateway.access import access_cache as module
from gateway.access.access_cache import AccessCache
from shared.protocol.control_messages import Recheck, parse_recheck, recheck_message
from shared.protocol.events import access_change_of

P_U, P_V, Q_U = ("p", "u"), ("p", "v"), ("q", "u")


def answered_yes(made: AccessCache, now: float = 0.0) -> None:
    made.request(P_U, 0.0)
    query = made.next_query(0.0)
    assert made.answered(query, {P_U}, now) == {P_U: True}


def test_a_positive_answer_is_cached_for_a_while_and_a_negative_one_never() -> None:
    made = AccessCache()
    made.request(P_U, 0.0)
    made.request(P_V, 0.0)
    query = made.next_query(0.0)
    assert query.pairs.keys() == {P_U, P_V}
    assert not made.has_requests
    assert made.answered(query, {P_U}, 10.0) == {P_U: True, P_V: False}
    assert made.allows(P_U, 14.9)
    assert not made.allows(P_U, 15.0)
    assert not made.allows(P_V, 10.0)


def test_a_later_no_replaces_a_cached_yes() -> None:
    made = AccessCache()
    answered_yes(made)
    made.request(P_U, 0.0)
    assert made.answered(made.next_query(0.0), set(), 1.0) == {P_U: False}
    assert not made.allows(P_U, 1.0)


def test_a_recheck_drops_the_cached_answers_that_it_concerns() -> None:
    made = AccessCache()
    answered_yes(made)
    made.invalidate(Recheck("q", None))
    assert made.allows(P_U, 0.0)
    made.invalidate(Recheck("p", None))
    assert not made.allows(P_U, 0.0)


def test_an_answer_to_a_query_sent_before_the_recheck_is_requested_again() -> None:
    made = AccessCache()
    made.request(P_U, 0.0)
    made.request(P_V, 0.0)
    query = made.next_query(0.0)
    made.invalidate(Recheck("p", "u"))
    assert made.answered(query, {P_U, P_V}, 0.0) == {P_V: True}
    assert not made.allows(P_U, 0.0)
    assert made.next_query(0.0).pairs.keys() == {P_U}


def test_a_recheck_overtakes_each_query_in_flight() -> None:
    made = AccessCache()
    queries = []
    for _ in range(2):
        made.request(P_U, 0.0)
        queries.append(made.next_query(0.0))
    made.failed(queries[0])
    made.invalidate(Recheck("p", None))
    assert made.answered(queries[1], {P_U}, 0.0) == {}


@pytest.mark.parametrize(
    ("recheck", "sent_at", "yes", "counts"),
    [
        pytest.param(Recheck("p", None), 1.5, {P_U}, True, id="yes"),
        pytest.param(Recheck("p", "u"), 1.5, {P_U}, True, id="yes, though it is named"),
        pytest.param(Recheck("p", None), 1.5, set(), True, id="no"),
        pytest.param(Recheck("p", "u"), 1.5, set(), False, id="no, but it is named"),
        pytest.param(Recheck("p", None), 0.5, {P_U}, False, id="yes, but it is old"),
    ],
)
def test_after_a_while_an_overtaken_answer_counts(
    recheck: Recheck, sent_at: float, yes: set[tuple[str, str]], counts: bool
) -> None:
    """Else a project whose own row changes all the time would have no answer."""
    made = AccessCache()
    made.request(P_U, 0.0)
    first = made.next_query(0.1)
    made.invalidate(recheck)
    assert made.answered(first, yes, 0.9) == {}, "it is not starving yet"
    again = made.next_query(sent_at)
    made.invalidate(recheck)
    made.invalidate(Recheck("p", None))
    assert made.answered(again, yes, 2.5) == ({P_U: P_U in yes} if counts else {})
    assert not made.allows(P_U, 2.5)
    assert made.has_requests is not counts


def test_a_request_whose_answers_are_all_overtaken_ends() -> None:
    made = AccessCache()
    made.request(P_U, 0.0)
    for sent_at, answered_at, expected in ((0.0, 2.5, {}), (2.5, 5.0, {P_U: None})):
        query = made.next_query(sent_at)
        made.invalidate(Recheck("p", None))
        assert made.answered(query, {P_U}, answered_at) == expected
    assert not made.has_requests


def test_a_failed_query_is_not_repeated_unless_requested() -> None:
    made = AccessCache()
    made.request(P_U, 0.0)
    made.failed(made.next_query(0.0))
    assert not made.has_requests
    made.invalidate(Recheck(None, None))


def test_the_pairs_of_a_query_and_the_cache_are_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_PAIRS_PER_QUERY", 1)
    made = AccessCache()
    answered_yes(made)
    made.request(P_V, 0.0)
    made.request(Q_U, 0.0)
    first, second = made.next_query(0.0), made.next_query(0.0)
    assert (set(first.pairs), set(second.pairs)) == ({P_V}, {Q_U})
    made.answered(first, {P_V}, 4.0)
    assert made.allows(P_U, 4.0)
    made.answered(second, {Q_U}, 6.0)
    assert made.allows(P_V, 6.0)
    assert P_U not in made._allowed_until


def test_a_recheck_message_is_parsed_back() -> None:
    for recheck in (Recheck("p", "u"), Recheck("p", None), Recheck(None, None)):
        assert parse_recheck(recheck_message(recheck)) == recheck
    for text in (
        b"",
        b"[]",
        b"7",
        b"{}",
        b'{"project_id":"p"}',
        b'{"project_id":"p","user_id":[]}',
    ):
        assert parse_recheck(text) is None


OWN = (
    b'{"type":"cache_invalidate","resource":"%s","action":"%s","project_id":"p",'
    b'"channel":"user:u"}'
)


@pytest.mark.parametrize(
    ("frame", "named"),
    [
        (OWN % (b"project_members", b"UPDATE"), ("p", True)),
        (OWN % (b"project", b"INSERT"), ("p", True)),
        (OWN % (b"project", b"DELETE"), ("p", True)),
        (OWN % (b"project", b"UPDATE"), ("p", False)),
        (OWN % (b"team_members", b"INSERT"), ("p", False)),
        (
            (OWN % (b"team_members", b"INSERT")).replace(b',"c', b',"access":true,"c'),
            ("p", True),
        ),
        (
            (OWN % (b"workspace", b"UPDATE")).replace(b',"c', b',"access":false,"c'),
            ("p", False),
        ),
        ((OWN % (b"project", b"DELETE")).replace(b"user:", b"project:"), None),
        ((OWN % (b"note", b"UPDATE")).replace(b'"p"', b"null"), None),
        (b'{"type":"reconnect","data":{"reason":"bulk_change"}}', None),
        (b"garbage", None),
        (b"[]", None),
        (b'{"project_id":"p","resource":"x","action":"y","channel":7}', None),
    ],
)
def test_a_users_own_frame_names_a_project(
    frame: bytes, named: tuple[str, bool] | None
) -> None:
    assert access_change_of(frame) == named

"""Which bodies are read, and which connection is cut when there are too many."""

from typing import Any

import pytest

from shared.http.body_rules import BodyHeaders, refuse_body
from shared.http.connection_slots import ConnectionSlots


def body(**given: Any) -> BodyHeaders:
    fields: dict[str, Any] = {
        "exists": True,
        "length": 5,
        "encodings": [],
        "transfer": [],
        "expect": [],
    }
    return BodyHeaders(**{**fields, **given})


NO_BODY = {"exists": False, "length": None}


@pytest.mark.parametrize(
    ("method", "given", "is_expected", "status"),
    [
        ("GET", NO_BODY, False, None),
        ("POST", NO_BODY, True, None),
        ("POST", {}, True, None),
        ("POST", {"length": 100}, True, None),
        ("POST", {"length": 101}, True, 413),
        ("POST", {"length": None, "transfer": ["chunked"]}, True, None),
        ("POST", {"length": None, "transfer": ["Chunked"]}, True, None),
        ("POST", {"length": None, "transfer": ["gzip, chunked"]}, True, 400),
        ("POST", {"length": None, "transfer": ["gzip", "chunked"]}, True, 400),
        ("POST", {"encodings": ["identity"]}, True, None),
        ("POST", {"encodings": ["gzip"]}, True, 415),
        ("POST", {"encodings": ["identity", "br"]}, True, 415),
        ("POST", {"expect": ["100-continue"]}, True, None),
        ("POST", {"expect": ["100-Continue"]}, True, None),
        ("POST", {"expect": ["100-continue"]}, False, 417),
        ("POST", {"expect": ["100-continue"], **NO_BODY}, True, 417),
        ("POST", {"expect": ["200-ok"]}, True, 417),
        ("POST", {"expect": ["100-continue", "x"]}, True, 417),
        ("GET", {"expect": [""], **NO_BODY}, True, 417),
        ("POST", {"length": 10**9, "encodings": ["gzip"]}, False, None),
        *((method, {}, True, 400) for method in ("GET", "HEAD", "OPTIONS", "TRACE", "CONNECT")),
        ("GET", {"length": None, "transfer": ["chunked"]}, False, 400),
    ],
)
def test_a_body_is_refused_by_its_headers(
    method: str, given: dict[str, Any], is_expected: bool, status: int | None
) -> None:
    refusal = refuse_body(method, body(**given), is_expected=is_expected, max_bytes=100)
    assert (refusal and refusal.status) == status


def test_the_longest_waiting_connection_makes_room() -> None:
    slots: ConnectionSlots[str] = ConnectionSlots(2, 0)
    assert slots.wait("a", None) is None
    assert slots.wait("b", None) is None
    assert slots.wait("c", None) == "a"
    assert len(slots) == 2
    assert slots.wait("b", None) is None  # it had a request meanwhile
    assert slots.wait("d", None) == "c"


def test_a_connection_at_work_stays_and_counts() -> None:
    slots: ConnectionSlots[str] = ConnectionSlots(2, 0)
    slots.wait("a", "1.1.1.1")
    slots.wait("b", None)
    slots.work("a")
    slots.work("a")
    slots.work("b")
    assert slots.wait("c", None) == "c"
    assert slots.wait("a", "1.1.1.1") is None
    assert slots.wait("c", None) == "a"
    slots.leave("b")
    slots.leave("b")
    assert slots.wait("d", None) is None


def test_an_address_makes_room_for_its_own_newcomer() -> None:
    slots: ConnectionSlots[str] = ConnectionSlots(0, 2)
    assert slots.wait("other", "2.2.2.2") is None
    for number in range(5):
        assert slots.wait(f"proxied {number}", None) is None
    assert slots.wait("a", "1.1.1.1") is None
    assert slots.wait("b", "1.1.1.1") is None
    assert slots.wait("c", "1.1.1.1") == "a"
    slots.work("b")
    slots.work("c")
    assert slots.wait("d", "1.1.1.1") == "d"
    slots.leave("b")
    slots.leave("c")
    assert slots.wait("e", "1.1.1.1") is None
    assert slots.wait("f", "1.1.1.1") is None


def test_where_no_descriptor_is_left_the_longest_waiting_goes() -> None:
    slots: ConnectionSlots[str] = ConnectionSlots(0, 0)
    assert slots.wait("a", None, is_full=True) == "a"
    slots.wait("b", "1.1.1.1")
    assert slots.wait("c", None, is_full=True) == "b"
    assert len(slots) == 1

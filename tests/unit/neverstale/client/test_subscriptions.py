"""Which projects are followed, from which cursors, and what the app gets of it."""

from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

import pytest

from neverstale.client.effects import Deliver, Subscribe, Unsubscribe, Warn
from neverstale.client.messages import Cursors, Event, Message, Reset, Status
from tests.unit.neverstale.client.driver import USER, Driver, change, cursor, project

EVENT = Event(
    resource="task",
    id="T",
    action="UPDATE",
    project_id="P",
    timestamp=datetime(2026, 11, 24, 10, 0, 0, 123456, UTC),
)


def reset(project_id: str | None, reason: str = "gap", spread_seconds: float = 0.0) -> Reset:
    return Reset(project_id=project_id, reason=reason, spread_seconds=spread_seconds)


def live(*projects: str) -> Status:
    return Status(live=True, projects=frozenset(projects))


def changes(driver: Driver) -> list[Any]:
    return [delivered.changes for delivered in driver.of(Deliver)]


def connected(projects: str = "P", cursors: Cursors | None = None) -> Driver:
    """A driver that is connected and subscribed to each project, a letter of *projects*."""
    driver = Driver(projects, cursors)
    driver.connect({**USER, **(project(projects[0]) if projects else {})})
    for one in projects[1:]:
        driver.receive(type="subscribed", project_id=one, cursor=cursor(one), resumed=False)
    return driver


def test_a_client_without_cursors_starts_with_a_reset() -> None:
    driver = Driver()
    assert driver.open() == "project_id=P"
    driver.greet({**project("P"), **USER})
    assert driver.messages == [reset(None), live("P")]
    assert changes(driver) == [{**project("P"), **USER}, {}]


def test_a_client_with_cursors_resumes_and_gets_only_what_it_missed() -> None:
    driver = Driver("PQ", {**USER, **project("P"), **project("Q")})
    query = parse_qsl(driver.open())
    assert query == [("project_id", "P"), ("since", "user:U.g.r.1"), ("since", cursor("P"))]
    driver.greet({**USER, **project("P")}, [*USER, "project:P"])
    assert driver.messages == [live("P")]
    assert driver.sent == [{"type": "subscribe", "project_id": "Q", "since": cursor("Q")}]
    driver.receive(**change("Q", channel="project:Q", offset=2))
    driver.receive(type="subscribed", project_id="Q", cursor=cursor("Q"), resumed=True)
    assert driver.messages == [live("P", "Q")]
    driver.close(None)
    driver.pass_deadline()
    driver.use_token()
    driver.greet({**USER, **project("P")}, [*USER, "project:P"])
    [subscribe] = driver.sent
    assert subscribe["since"] == cursor("Q", 2)  # not the older one that `subscribed` repeats


def test_a_project_whose_history_is_lost_is_reset_alone() -> None:
    driver = Driver("P", {**USER, **project("P")})
    driver.connect({**USER, **project("P", 9)}, USER)
    assert driver.messages == [reset("P"), live("P")]
    assert changes(driver) == [project("P", 9), {}]


def test_a_lost_user_channel_resets_everything_and_subscribes_anew() -> None:
    driver = Driver("PQ", {**USER, **project("P"), **project("Q")})
    driver.connect({"user:U": "user:U.h.r.1", **project("P")}, ["project:P"])
    assert driver.messages == [reset(None), Status(live=True)]
    assert changes(driver)[0] == {
        "user:U": "user:U.h.r.1",
        "project:P": None,
        "project:Q": None,
    }
    assert driver.sent == [{"type": "subscribe", "project_id": one} for one in "PQ"]


def test_an_event_moves_the_cursor_of_its_channel() -> None:
    driver = connected()
    driver.receive(**change(offset=7))
    assert driver.messages == [EVENT]
    assert changes(driver) == [project("P", 7)]


def test_an_event_that_changes_access_resets_the_project_and_subscribes_anew() -> None:
    driver = connected("PQ")
    driver.receive(**change("Q", channel="user:U", access=True))
    event, after, status = driver.messages
    assert isinstance(event, Event)
    assert (event.project_id, event.access) == ("Q", True)
    assert after == reset("Q", "access_changed")
    assert status == live("P")
    assert changes(driver)[0] == {"user:U": "user:U.g.r.2", "project:Q": None}
    assert driver.sent == [{"type": "subscribe", "project_id": "Q"}]


def test_an_event_that_gives_access_to_an_unknown_project_subscribes_to_nothing() -> None:
    driver = connected()
    driver.receive(**change("Z", channel="user:U", access=True))
    assert driver.messages[1:] == [reset("Z", "access_changed")]
    assert driver.sent == []


def test_a_reset_of_a_project_replaces_its_cursor() -> None:
    driver = connected()
    driver.receive(
        type="reconnect",
        data={"reason": "bulk_change"},
        project_id="P",
        cursors=project("P", 5),
    )
    assert driver.messages == [reset("P", "bulk_change")]
    assert changes(driver) == [project("P", 5)]


def test_a_reset_of_everything_says_how_to_spread_and_renews_what_it_does_not_name() -> None:
    driver = connected("PQ")
    driver.receive(
        type="reconnect",
        data={"reason": "log_lost"},
        spread_ms=2000,
        cursors={**USER, **project("P", 5)},
    )
    assert driver.messages == [reset(None, "log_lost", 2.0), live("P")]
    assert changes(driver)[0] == {**USER, **project("P", 5), "project:Q": None}
    assert driver.sent == [{"type": "subscribe", "project_id": "Q"}]


def test_a_revoked_project_is_reset_and_not_asked_for_again() -> None:
    driver = connected("PQ")
    driver.receive(type="unsubscribed", project_id="Q", reason="revoked")
    assert driver.messages == [reset("Q", "revoked"), live("P")]
    assert changes(driver)[0] == {"project:Q": None}
    driver.receive(type="reconnect", data={"reason": "log_lost"}, cursors=USER)
    assert driver.sent == [{"type": "subscribe", "project_id": "P"}]
    driver.close(None)
    driver.pass_deadline()
    driver.use_token()
    driver.greet({**USER, **project("P")}, [*USER, "project:P"])
    assert driver.sent == []
    driver.feed(Subscribe("Q"))
    assert driver.sent == [{"type": "subscribe", "project_id": "Q"}]


def test_a_revoked_project_that_nobody_wants_is_reset_too() -> None:
    driver = connected()
    driver.receive(type="unsubscribed", project_id="Z", reason="revoked")
    assert driver.messages == [reset("Z", "revoked")]


@pytest.mark.parametrize("code", ["forbidden", "bad_request"])
def test_a_refused_project_is_reset_and_the_others_stay(code: str) -> None:
    driver = connected("PQ")
    driver.feed(Subscribe("R"))
    assert driver.sent == [{"type": "subscribe", "project_id": "R"}]
    driver.receive(type="error", code=code, message="no", project_id="R")
    assert driver.messages == [reset("R", code)]
    assert driver.of(Warn) == [Warn(f"{code}: no")]


def test_a_project_that_cannot_be_subscribed_to_now_is_asked_for_again_later() -> None:
    driver = connected("PQ")
    driver.receive(**change("Q", channel="user:U", access=True))
    error = {"type": "error", "code": "unavailable", "message": "later"}
    driver.receive(**error, project_id="Q")
    assert driver.messages == []
    assert driver.delay == 0.5
    driver.pass_deadline()
    assert driver.sent == [{"type": "subscribe", "project_id": "Q"}]
    driver.receive(**error, project_id="Q")
    assert driver.delay == 1.0  # twice as long
    driver.receive(**error, project_id="Z")  # of a project that is not wanted any more
    assert driver.delay == 1.0


def test_projects_are_subscribed_to_once() -> None:
    driver = connected()
    driver.feed(Subscribe("Q"))
    assert driver.sent == [{"type": "subscribe", "project_id": "Q"}]
    driver.feed(Subscribe("Q"))
    assert driver.sent == []
    driver.feed(Subscribe("P"))
    assert driver.sent == []


def test_projects_wanted_before_it_is_connected_are_subscribed_to_then() -> None:
    driver = Driver()
    driver.feed(Subscribe("Q"))
    driver.feed(Unsubscribe("P"))
    assert driver.effects == []
    assert driver.open() == "project_id=Q"


def test_an_unsubscribed_project_is_forgotten_with_events_that_were_on_their_way() -> None:
    driver = connected("PQ")
    driver.feed(Unsubscribe("Q"))
    assert driver.sent == [{"type": "unsubscribe", "project_id": "Q"}]
    assert driver.messages == [live("P")]
    assert changes(driver) == [{}]
    driver.receive(**change("Q", channel="project:Q"))
    assert changes(driver) == [project("Q", 2)]
    driver.receive(type="unsubscribed", project_id="Q", reason="requested")
    driver.receive(**change())
    assert changes(driver) == [{**project("P", 2), "project:Q": None}]


def test_an_unsubscribed_project_that_is_wanted_again_keeps_its_cursor() -> None:
    driver = connected("PQ")
    driver.feed(Unsubscribe("Q"))
    driver.feed(Subscribe("Q"))
    driver.receive(type="unsubscribed", project_id="Q", reason="requested")
    driver.receive(type="subscribed", project_id="Q", cursor=cursor("Q", 8), resumed=False)
    assert driver.messages == [reset("Q"), live("P", "Q")]
    assert changes(driver)[0] == {"project:Q": cursor("Q", 8)}


def test_a_project_unsubscribed_while_the_socket_opens_is_left() -> None:
    driver = Driver("PQ")
    driver.open()
    driver.feed(Unsubscribe("P"))
    driver.greet({**USER, **project("P")})
    assert driver.sent == [
        {"type": "unsubscribe", "project_id": "P"},
        {"type": "subscribe", "project_id": "Q"},
    ]


def test_unsubscribing_from_what_is_refused_or_unknown_sends_nothing() -> None:
    driver = connected("PQ")
    driver.receive(type="unsubscribed", project_id="Q", reason="revoked")
    for project_id in ("Q", "Z"):
        driver.feed(Unsubscribe(project_id))
        assert driver.effects == []


def test_a_late_answer_to_subscribe_of_a_project_that_is_left_is_no_surprise() -> None:
    driver = connected()
    driver.feed(Subscribe("Q"))
    driver.feed(Unsubscribe("Q"))
    driver.receive(type="subscribed", project_id="Q", cursor=cursor("Q"), resumed=True)
    assert driver.effects == []


def test_another_spelling_of_a_project_is_refused_with_the_right_one() -> None:
    driver = Driver(["p", "q"])
    driver.connect({**USER, **project("P")}, [*USER])
    assert driver.of(Warn) == [Warn("write the project as the gateway spells it: P")]
    expected: list[Message] = [reset("p", "bad_request"), reset("P"), Status(live=True)]
    assert driver.messages == expected
    assert driver.sent == [
        {"type": "unsubscribe", "project_id": "p"},
        {"type": "subscribe", "project_id": "q"},
    ]
    driver.receive(type="subscribed", project_id="Q", cursor=cursor("Q"), resumed=False)
    assert driver.of(Warn) == [Warn("write the project as the gateway spells it: Q")]
    assert driver.sent == [{"type": "unsubscribe", "project_id": "Q"}]


def test_a_client_may_follow_its_user_alone() -> None:
    driver = Driver(())
    assert driver.open() == ""
    driver.greet(USER)
    assert driver.messages == [reset(None), Status(live=True)]
    driver.receive(**change(None, channel="user:U"))
    [event] = driver.messages
    assert isinstance(event, Event)
    assert event.project_id is None

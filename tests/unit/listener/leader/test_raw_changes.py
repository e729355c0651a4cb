"""Changes of other producers are bounded, and each one is kept, covered or reported lost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from listener.capture.log_actions import RECONNECT
from listener.leader import raw_changes
from listener.leader.log_row import LogRow
from listener.leader.publication import USER_MAX_ROWS, PublicationRules
from listener.leader.raw_changes import RawChanges
from shared.config.access_rules import AccessRules
from shared.runtime.log_throttle import LOG_SECONDS, LogThrottle

RULES = PublicationRules(AccessRules("text", "text", "", ""), frozenset({"project"}), 3)


def row(
    id_: str | None = "1", project: str = "p", user: str | None = None, resource: str = "task"
) -> LogRow:
    return LogRow(project, user, resource, id_, "UPDATE", None)


def everything(project: str = "p", user: str | None = None) -> LogRow:
    return LogRow(project, user, "bulk_change", None, RECONNECT, None)


def taken(*rows: LogRow) -> list[LogRow]:
    changes = RawChanges(RULES)
    assert all(changes.add(one) for one in rows)
    assert bool(changes) == bool(rows)
    found = changes.take()
    assert not changes
    return found


def test_each_change_is_kept_once_at_the_newest_place() -> None:
    assert taken() == []
    assert taken(row("1"), row("2"), row("1")) == [row("2"), row("1")]
    assert taken(row("1"), row("1", project="q")) == [row("1"), row("1", project="q")]


def test_more_rows_than_a_projects_log_can_hold_become_one_reconnect() -> None:
    many = [row(str(number)) for number in range(9)]
    assert taken(*many[:3]) == many[:3]
    assert taken(*many, row(project="q")) == [everything(), row(project="q")]


def test_the_reconnect_for_a_users_rows_names_the_user() -> None:
    many = [row(str(number), user="u") for number in range(USER_MAX_ROWS + 1)]
    assert taken(*many[1:]) == many[1:]
    assert taken(*many) == [everything(user="u")]


def test_a_projects_own_row_is_kept_beside_its_reconnect() -> None:
    """It rechecks the access of all users of the project."""
    many = [row(str(number)) for number in range(9)]
    own = row("p", resource="project")
    late = row("q", resource="project")
    assert taken(own, *many) == [everything(), own]
    assert taken(*many, own, late, late) == [everything(), late]


def test_rows_over_the_bound_become_reconnects(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(raw_changes, "MAX_ROWS", 4)
    first = [row("1", "p"), row("2", "p"), row("1", "q"), row("2", "q")]
    assert taken(*first) == first
    assert taken(*first, row("1", "r")) == [*first, everything("r")]


def test_changes_of_too_many_projects_and_users_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(raw_changes, "MAX_GROUPS", 2)
    changes = RawChanges(RULES)
    assert changes.add(row(project="p"))
    assert changes.add(row(project="q"))
    assert not changes.add(row(project="r"))
    assert changes.add(row("2", project="p")), "a known project has room for more"
    changes.clear()
    assert changes.add(row(project="r"))


@given(
    st.lists(st.tuples(st.sampled_from("pq"), st.sampled_from([None, "u"]), st.integers(0, 5)))
)
def test_every_change_is_kept_or_covered(
    told: list[tuple[str, str | None, int]],
) -> None:
    rows = [row(str(number), project, user) for project, user, number in told]
    found = taken(*rows)
    assert len(found) == len(set(found))
    for one in rows:
        assert one in found or everything(one.project_id or "", one.user_id) in found


def test_frequent_occurrences_are_logged_with_their_count_every_10_s() -> None:
    throttle = LogThrottle()
    assert throttle.due(0.0) == 0
    assert [throttle.count(0.0), throttle.count(1.0), throttle.count(2.0)] == [1, 0, 0]
    assert throttle.due(LOG_SECONDS - 0.1) == 0
    assert throttle.due(LOG_SECONDS) == 2
    assert throttle.due(2 * LOG_SECONDS) == 0
    assert throttle.count(2 * LOG_SECONDS) == 1

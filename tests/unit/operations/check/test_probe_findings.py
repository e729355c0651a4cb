"""Where an event got stuck."""

import pytest

from operations.check.probe_findings import ProbeFacts, find_in_probe

ONE, TWO = "http://one", "http://two"


def facts(
    greeted: dict[str, float | None],
    published: float | None,
    received: dict[str, float | None],
    *,
    sees_redis: bool = True,
) -> ProbeFacts:
    return ProbeFacts(greeted, "", 0.002, sees_redis, published, received)


def test_an_event_that_arrives_has_no_findings_and_its_times_are_said() -> None:
    fine = facts({ONE: 0.01}, 0.005, {ONE: 0.0061})
    assert find_in_probe(fine) == []
    assert fine.describe() == {
        "greeted_ms": {ONE: 10.0},
        "committed_ms": 2.0,
        "published_ms": 5.0,
        "received_ms": {ONE: 6.1},
    }


@pytest.mark.parametrize(
    ("wrong", "ids"),
    [
        (ProbeFacts(commit_error="no function"), ["not_committed"]),
        (
            facts({ONE: None, TWO: 0.1}, 0.1, {TWO: 0.1}),
            ["not_greeted"],
        ),
        (facts({ONE: 0.1}, None, {ONE: None}), ["not_published"]),
        (facts({ONE: 0.1}, 0.1, {ONE: None}), ["not_received"]),
        (facts({ONE: 0.1}, None, {ONE: None}, sees_redis=False), ["not_received"]),
        # Redis could not be read, but the event was received
        (facts({ONE: 0.1}, None, {ONE: 0.1}), []),
        (
            facts({ONE: 0.1, TWO: 0.1}, 0.1, {ONE: 0.1, TWO: None}),
            ["not_received"],
        ),
    ],
)
def test_the_first_stage_that_was_not_reached_is_the_finding(
    wrong: ProbeFacts, ids: list[str]
) -> None:
    found = find_in_probe(wrong)
    assert [one.id for one in found] == [f"probe.{id_}" for id_ in ids]
    assert all(one.todo and one.severity == "problem" for one in found)

"""What is said of each fact of a database."""

from typing import Any

import pytest

from listener.setup.database_findings import (
    DatabaseFacts,
    ExcessRight,
    LookUp,
    find_in_database,
)
from shared.runtime.findings import problems_of

LOOK_UP = LookUp("tasks", "project", "projects")


def test_a_set_up_as_documented_has_no_findings() -> None:
    assert find_in_database(DatabaseFacts()) == []


@pytest.mark.parametrize(
    ("facts", "id_", "severity", "text"),
    [
        ({"server_version": 13}, "version", "problem", "PostgreSQL 13 is not supported"),
        ({"is_standby": True}, "standby", "problem", "leads to a standby"),
        ({"is_installed": False}, "not_installed", "problem", "run neverstale install"),
        ({"wrong_entries": ["watch (a) table: none"]}, "wrong_entry", "problem", "watch (a)"),
        (
            {"differences": ["trigger x is gone"]},
            "changed_capture",
            "problem",
            "x is gone: run",
        ),
        ({"missing_triggers": [("t", "n")]}, "missing_trigger", "problem", "n on t is missing"),
        ({"unknown_triggers": ["n on t"]}, "unknown_trigger", "problem", "no [[watch]]: run"),
        ({"is_disabled": True}, "disabled", "problem", "capture is disabled: run"),
        ({"foreign_triggers": [("t", "n")]}, "foreign_trigger", "problem", "n on t sends"),
        (
            {"excess_rights": [ExcessRight("app", "INSERT", "table x", "revoke it")]},
            "excess_right",
            "problem",
            "app has INSERT on table x, which it does not need: revoke it",
        ),
        ({"exposure": "code runs: install"}, "exposed_functions", "problem", "runs: install"),
        (
            {"hidden": ["rows of t: grant it"], "owner": "writer"},
            "hidden_rows",
            "problem",
            "the trigger functions belong to writer: rows of t: grant it",
        ),
        ({"secured_tables": ["change_log"]}, "secured_table", "problem", "change_log is on"),
        ({"access_error": "query failed"}, "access_query", "problem", "query failed"),
        ({"members_error": "query failed"}, "members_query", "problem", "query failed"),
        ({"hidden_from_listeners": ["t: do"]}, "hidden_members", "problem", "t: do"),
        ({"max_prepared_transactions": 5}, "prepared_transactions", "note", "is 5"),
        ({"raw_notify_seen": True}, "raw_notify", "note", "--clear-raw-notify"),
        ({"restored_rows": 7}, "restored_rows", "note", "7 rows"),
        ({"subscriptions": [("t", "s")]}, "subscription", "note", "subscription s writes t"),
        ({"unbound_parents": [LOOK_UP]}, "unbound_parent", "note", "no foreign key"),
        ({"unwatched_look_ups": [LOOK_UP]}, "unwatched_look_up", "note", "is not watched"),
        ({"has_members": False}, "no_members", "note", "[access] members is missing"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isidentifier() else "",
)
def test_each_fact_is_a_finding(
    facts: dict[str, Any], id_: str, severity: str, text: str
) -> None:
    [found] = find_in_database(DatabaseFacts(**facts))
    assert (found.id, found.severity) == (f"postgresql.{id_}", severity)
    assert text in found.text
    assert found.todo


def test_notes_wait_for_a_correct_file() -> None:
    facts = DatabaseFacts(wrong_entries=["watch (a) table: none"], has_members=False)
    assert [one.id for one in find_in_database(facts)] == ["postgresql.wrong_entry"]


def test_problems_come_before_notes() -> None:
    found = find_in_database(DatabaseFacts(is_disabled=True, has_members=False))
    assert [one.severity for one in found] == ["problem", "note"]
    assert problems_of(found) == found[:1]

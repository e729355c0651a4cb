"""The watches of a config file."""

from typing import Any

import pytest

from listener.capture.watches import (
    Watch,
    parse_bulk_threshold,
    parse_watches,
    project_resources,
    resources_without_access,
)
from shared.config.access_rules import ConfigError, parse_access
from shared.config.config_file import read_config
from tests.support.processes import ROOT

WATCH: dict[str, Any] = {"table": "tasks", "resource": "task", "project": "project_id"}


def test_the_shipped_config_is_valid() -> None:
    document = read_config(ROOT / "invalidation.toml")
    assert [watch.table for watch in parse_watches(document)] == [
        "projects",
        "sprints",
        "tasks",
        "project_members",
        "messages",
    ]
    rules = parse_access(document)
    assert (rules.project_type, rules.user_type) == ("uuid", "uuid")
    assert "asked.project_id::pg_catalog.uuid" in rules.query


@pytest.mark.parametrize(
    ("watches", "expected"),
    [
        ([("tasks", "task", "id", "project_id"), ("projects", "board", "id", "id")], {"board"}),
        ([("projects", "project", "id", "id"), ("s", "settings", "pid", "pid")], {"project"}),
        ([("a", "a", None, "id")], set()),
    ],
    ids=["its id is its project", "one row per project", "no id"],
)
def test_the_project_resource_is_the_one_whose_id_is_its_project(
    watches: list[tuple[str, str, str | None, str]], expected: set[str]
) -> None:
    found = [
        Watch(table, resource, id_, project, None) for table, resource, id_, project in watches
    ]
    assert project_resources(found) == expected


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ({}, "no table is watched"),
        ({"watch": []}, "no table is watched"),
        ({"watch": {"table": "x"}}, "no table is watched"),
        ({"watch": ["x"]}, "watch 1: must be a section"),
        (
            {"watch": [{**WATCH, "table": 7}]},
            'watch 1 table: must be text: write table = "..."',
        ),
        (
            {"watch": [{**WATCH, "id": " "}]},
            'watch 1 (tasks) id: must be text: write id = "..."',
        ),
        ({"watch": [{**WATCH, "projct": "x"}]}, "watch 1 (tasks) projct: unknown key"),
        ({"watch": [{"table": "x", "project": "p"}]}, "watch 1 (x) resource: is missing"),
        ({"watch": [{"table": "x", "resource": "r"}]}, "watch 1 (x) project: is missing"),
        ({"watch": [WATCH, WATCH]}, "watch (tasks) table: is watched twice"),
        ({"watch": [WATCH], "acess": {}}, "acess: unknown"),
        ({"watch": [{**WATCH, "ignore": "x"}]}, "watch 1 (tasks) ignore: must be a list"),
        ({"watch": [{**WATCH, "ignore": [7]}]}, "watch 1 (tasks) ignore: must be a list"),
        (
            {"watch": [{**WATCH, "resource": "ä" * 129}]},
            "watch 1 (tasks) resource: must have at most 256 bytes",
        ),
        ({"watch": [{**WATCH, "ignore": ["x"], "id": 7}]}, "watch 1 (tasks) id: must be text"),
        (
            {"watch": [{**WATCH, "access": "no"}]},
            "watch 1 (tasks) access: must be true or false: write access = false",
        ),
    ],
)
def test_a_mistake_in_a_watch_is_reported(document: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_watches(document)
    assert any(line.startswith(problem) or problem in line for line in refused.value.problems)


def test_a_resource_gives_access_if_one_of_its_watches_does() -> None:
    watches = parse_watches(
        {
            "watch": [
                {**WATCH, "access": False},
                {**WATCH, "table": "old_tasks", "access": False},
                {**WATCH, "table": "members", "resource": "member"},
                {**WATCH, "table": "guests", "resource": "member", "access": False},
            ]
        }
    )
    assert resources_without_access(watches) == {WATCH["resource"]}


@pytest.mark.parametrize("value", [0, -1, True, "50", 1.5])
def test_a_bulk_threshold_is_a_number_above_0(value: object) -> None:
    assert parse_bulk_threshold({}) == 50
    with pytest.raises(ConfigError, match="bulk_threshold"):
        parse_bulk_threshold({"bulk_threshold": value})

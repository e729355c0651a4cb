"""The ``[access]`` section of a config file."""

from typing import Any

import pytest

from shared.config.access_rules import ConfigError, parse_access


@pytest.mark.parametrize(
    ("section", "problem"),
    [
        ("x", "access: must be a section"),
        ({"project_typ": "uuid"}, "[access] project_typ: unknown key"),
        ({"user_type": "serial"}, '[access] user_type: must be "uuid", "bigint" or "text"'),
        ({"query": 7}, "[access] query: must be a string"),
        ({"members": ["x"]}, "[access] members: must be a string"),
    ],
)
def test_a_mistake_in_the_access_section_is_reported(section: Any, problem: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_access({"access": section})
    assert refused.value.problems[0].startswith(problem)


def test_the_access_query_can_be_replaced() -> None:
    rules = parse_access({"access": {"query": "select 1, 2", "project_type": "bigint"}})
    assert (rules.query, rules.project_type) == ("select 1, 2", "bigint")
    assert rules.members == "", "the default asks tables that there may not be"
    rules = parse_access({"access": {"members": " select 3 "}})
    assert (rules.members, "owner_id" in rules.query) == ("select 3", True)
    assert "::pg_catalog.int8[]" in parse_access({"access": {"project_type": "bigint"}}).members

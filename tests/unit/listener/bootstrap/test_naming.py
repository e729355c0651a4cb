"""Names of resources, after the tables."""

import pytest

from listener.bootstrap.naming import (
    singular,
)


@pytest.mark.parametrize(
    ("name", "one"),
    [
        ("tasks", "task"),
        ("OrderLines", "order_line"),
        ("Order Lines", "order_line"),
        ("companies", "company"),
        ("addresses", "address"),
        ("boxes", "box"),
        ("branches", "branch"),
        ("statuses", "status"),
        ("status", "status"),
        ("houses", "house"),
        ("project_news", "project_news"),
        ("people", "person"),
        ("task", "task"),
    ],
)
def test_a_row_of_a_table_is_called(name: str, one: str) -> None:
    assert singular(name) == one

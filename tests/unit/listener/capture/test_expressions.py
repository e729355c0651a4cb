"""Names, literals and expressions in SQL."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from listener.capture.expressions import (
    Table,
    columns_in,
    expression_sql,
    plain_column,
    quote_identifier,
    quote_literal,
)

TASKS = Table("public", "tasks", ("id", "project_id", "user_id", "Odd name", "Ämne"))


@given(st.text(st.characters(exclude_characters="\0")))
def test_quoting_is_reversible(text: str) -> None:
    assert quote_identifier(text)[1:-1].replace('""', '"') == text
    literal = quote_literal(text)
    inside = literal[2:-1] if literal.startswith("E") else literal[1:-1]
    assert inside.replace("''", "'").replace("\\\\", "\\") == text
    assert ("\\" in text) == literal.startswith("E")


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("id", "id"),
        (" ID ", "id"),
        ('"Odd name"', "Odd name"),
        ("Odd", None),
        ('"ID"', None),
        ("id || id", None),
        ("missing", None),
    ],
)
def test_a_plain_column_is_recognized(text: str, column: str | None) -> None:
    assert plain_column(text, TASKS) == column
    value = f"{quote_identifier(column)}::text" if column else f"left(({text})::text, 513)"
    assert expression_sql(text, TASKS) == f'{value} collate "C"'


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("project_id || ':' || USER_ID", {"project_id", "user_id"}),
        ('lower("Odd name")', {"Odd name"}),
        ("(select p.x from public.p where p.y = changed.project_id)", {"project_id"}),
        ("to_jsonb(changed)", set(TASKS.columns)),
        ("(select changed.*)::text", set(TASKS.columns)),
        ("to_jsonb(tasks)", set(TASKS.columns)),
        ("1", set()),
        ("""'"' || project_id || '"'""", {"project_id"}),
        ("ÄMNE || user_id", {"Ämne", "user_id"}),
        ("Ämne", {"Ämne"}),
    ],
)
def test_columns_that_an_expression_may_mention_are_found(text: str, columns: set[str]) -> None:
    assert columns_in(text, TASKS) == columns

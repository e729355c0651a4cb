"""The proposed file is valid whatever tables and columns are called."""

import tomllib

from hypothesis import given
from hypothesis import strategies as st

from listener.bootstrap.catalog import Column, DescribedTable, ForeignKey
from listener.bootstrap.naming import (
    identifier,
    snake_case,
    toml_comment,
    toml_string,
)
from tests.unit.listener.bootstrap.described_tables import rendered

NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)


@given(NAMES, NAMES, NAMES)
def test_any_name_keeps_the_file_whole(schema: str, name: str, column: str) -> None:
    key = DescribedTable(
        schema,
        name,
        (Column(column, "bigint", nullable=True), Column(column + "_at", "timestamptz")),
        (column,),
        ((column,),),
        (ForeignKey((column,), ("public", "projects"), ("id",)),),
    )
    users = DescribedTable("users" + schema, "users", (Column(column, "enum"),), (column,))
    projects = DescribedTable(
        "public",
        "projects",
        (Column("id", "bigint"), Column(column + "_", "bigint")),
        ("id",),
        (),
        (ForeignKey((column + "_",), users.key, (column,)),),
    )
    text, document = rendered(key, users, projects)
    assert key.short in [entry["table"] for entry in document["watch"]]
    assert identifier(column + "_") in document["access"]["query"] or "NOBODY" in text
    assert tomllib.loads(f"x = {toml_string(name)}\n{toml_comment(column)}") == {"x": name}
    assert snake_case(name) == snake_case(name).lower()

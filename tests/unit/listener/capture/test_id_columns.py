import pytest

from listener.capture.id_columns import ValueType, describe_misfit
from shared.protocol.channels import IdType

CASES: list[tuple[ValueType, IdType, str | None]] = [
    (ValueType("uuid"), "uuid", None),
    (ValueType("smallint"), "bigint", None),
    (ValueType("integer"), "bigint", None),
    (ValueType("bigint"), "bigint", None),
    (ValueType("text"), "text", None),
    (ValueType("character varying"), "uuid", None),
    (ValueType("character"), "bigint", None),
    (ValueType("integer"), "uuid", 'write user_type = "bigint" in [access]'),
    (ValueType("bigint"), "text", 'write user_type = "bigint" in [access]'),
    (ValueType("uuid"), "text", 'write user_type = "uuid" in [access]'),
    (ValueType("text", is_exact=False), "text", "give c a deterministic collation"),
    (ValueType("text", is_exact=False), "uuid", "give c a deterministic collation"),
    (ValueType("numeric"), "bigint", 'write user = "trim_scale(c)::text"'),
    (ValueType("public.citext"), "text", 'write user = "lower(c::text)"'),
    (ValueType("app.colour"), "text", 'write user = "c::text"'),
]


@pytest.mark.parametrize(("found", "id_type", "expected"), CASES)
def test_ids_are_of_types_that_write_what_is_equal_alike(
    found: ValueType, id_type: IdType, expected: str | None
) -> None:
    problem = describe_misfit("c", found, key="user", id_type=id_type)
    assert (problem is None) == (expected is None)
    assert (expected or "") in (problem or "")


def test_what_to_write_instead_of_an_expression_is_of_all_of_it() -> None:
    problem = describe_misfit("a || b", ValueType("citext"), key="user", id_type="text")
    assert 'user = "lower((a || b)::text)"' in (problem or "")


def test_the_projects_own_table_keeps_its_id_the_project() -> None:
    problem = describe_misfit("slug", ValueType("citext"), key="project", id_type="text")
    assert 'project = "lower(slug::text)" (and the same as id' in (problem or "")

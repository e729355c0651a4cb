import pytest

from shared.protocol.channels import InvalidId
from shared.protocol.json_values import parse_id_value, parse_object


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b'{"a": 1}', {"a": 1}),
        ('{"a": 1}', {"a": 1}),
        (b"{}", {}),
        (b"[]", None),
        (b"null", None),
        (b"", None),
        (b'{"a": ', None),
        (b"\xff", None),
    ],
)
def test_anything_but_a_json_object_is_none(text: bytes | str, value: object) -> None:
    assert parse_object(text) == value


@pytest.mark.parametrize(
    ("value", "id_"),
    [(7, "7"), ("007", "7"), (True, None), (7.0, None), (None, None), ({}, None)],
)
def test_an_id_is_text_or_an_integer(value: object, id_: str | None) -> None:
    assert parse_id_value(value, "bigint") == id_


def test_an_id_of_another_type_is_invalid() -> None:
    with pytest.raises(InvalidId, match="integer"):
        parse_id_value("x", "bigint")

"""JSON as clients and our own processes send it: objects, and ids in them."""

from collections.abc import Mapping
from typing import Any

import orjson

from shared.protocol.channels import IdType, parse_id


def parse_object(text: bytes | str) -> Mapping[str, Any] | None:
    """The JSON object that the text spells, or None."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def parse_id_value(value: object, id_type: IdType) -> str | None:
    """The canonical spelling of an id given as text or integer; None for any other value.

    Raises:
        InvalidId: the text or integer is no id of that type.
    """
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return parse_id(str(value), id_type)

"""Which columns and expressions can hold ids: those in which equal ids have equal texts."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from shared.protocol.channels import IdType

_ID_TYPES: Final[Mapping[str, IdType]] = {
    "uuid": "uuid",
    "smallint": "bigint",
    "integer": "bigint",
    "bigint": "bigint",
}
# A cast of `character` to text removes the trailing blanks, which it does not compare.
_TEXTS: Final = ("text", "character varying", "character")
_NAME: Final = re.compile(r'[\w."]+')


@dataclass(frozen=True, slots=True)
class ValueType:
    """The type of a column or an expression.

    ``name``: as ``format_type`` writes it, without a length; of a domain, its base type.
    ``is_exact``: its collation, if it has one, distinguishes all different texts.
    """

    name: str
    is_exact: bool = True


def id_type_of(type_name: str) -> IdType | None:
    """Return the type of ids that a PostgreSQL type holds, or None (texts may hold any)."""
    return _ID_TYPES.get(type_name)


def _fits(found: ValueType, id_type: IdType) -> bool:
    """Whether values of this type are ids of that type, and equal ids have equal texts.

    Text fits every type of ids: its values are parsed as ids of that type.
    """
    return id_type_of(found.name) == id_type or (found.name in _TEXTS and found.is_exact)


def canonical_expression(text: str, type_name: str) -> str:
    """Return the column or expression, or SQL over it that gives equal values equal texts.

    For other types than numbers, texts and uuids it is a suggestion, for a person to review.
    """
    if type_name in (*_ID_TYPES, *_TEXTS):
        return text
    value = text if _NAME.fullmatch(text) else f"({text})"
    if type_name == "numeric":
        return f"trim_scale({value})::text"
    is_citext = type_name.rpartition(".")[2] == "citext"
    return f"lower({value}::text)" if is_citext else f"{value}::text"


def describe_misfit(text: str, found: ValueType, *, key: str, id_type: IdType) -> str | None:
    """Return why a watch cannot be routed by its project or user (*key*), and what to write.

    None: it can.
    """
    if _fits(found, id_type):
        return None
    if found.name in _TEXTS:
        return (
            "its collation treats differently written texts as equal, and such ids would name "
            f"different channels: give {text} a deterministic collation, or write an "
            "expression that gives equal ids one spelling"
        )
    own_type = id_type_of(found.name)
    if own_type is not None:
        return (
            f'{text} is of type {found.name}, but ids are of type "{id_type}": write '
            f'{key}_type = "{own_type}" in [access]'
        )
    also = " (and the same as id, if that is the project's)" if key == "project" else ""
    canonical = canonical_expression(text, found.name)
    return (
        f"{text} is of type {found.name}, which can write equal values differently: write "
        f'{key} = "{canonical}"{also}, or another expression that gives equal ids one '
        "spelling, and compare and return the same in the [access] query and members"
    )

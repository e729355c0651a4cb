"""Which columns and expressions can hold ids: those that write equal ids alike."""

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
# Cast to text, `character` loses the blanks that it does not compare.
_TEXTS: Final = ("text", "character varying", "character")
_NAME: Final = re.compile(r'[\w."]+')


@dataclass(frozen=True, slots=True)
class ValueType:
    """The type of a column or an expression.

    As ``format_type`` writes it, without a length; a domain's is that below it. ``is_exact``:
    its collation, if it has one, tells apart all texts that are written differently.
    """

    name: str
    is_exact: bool = True


def id_type_of(type_name: str) -> IdType | None:
    """The type of ids that values of a PostgreSQL type are; None: of any that text can hold, or
    of none.
    """
    return _ID_TYPES.get(type_name)


def _fits(found: ValueType, id_type: IdType) -> bool:
    """Whether values of this type are ids of that one, equal ones in one spelling.

    Text is taken for ids of every type, since what it holds is read as an id of that type.
    """
    return id_type_of(found.name) == id_type or (found.name in _TEXTS and found.is_exact)


def canonical_expression(text: str, type_name: str) -> str:
    """The column or expression as it is if equal values of its type are written alike, else an
    expression of it, in SQL, that most likely writes them alike.
    """
    if type_name in (*_ID_TYPES, *_TEXTS):
        return text
    value = text if _NAME.fullmatch(text) else f"({text})"
    if type_name == "numeric":
        return f"trim_scale({value})::text"
    is_citext = type_name.rpartition(".")[2] == "citext"
    return f"lower({value}::text)" if is_citext else f"{value}::text"


def describe_misfit(text: str, found: ValueType, *, key: str, id_type: IdType) -> str | None:
    """Why the project or user (*key*) of a watch can't be routed by, and what to write instead;
    None: it can.
    """
    if _fits(found, id_type):
        return None
    if found.name in _TEXTS:
        return (
            "its collation calls texts equal that are written differently, and such ids would "
            f"be of different channels: give {text} a deterministic collation, or write an "
            "expression that gives equal ids one spelling"
        )
    own = id_type_of(found.name)
    if own is not None:
        return (
            f'{text} is of type {found.name}, but ids are of type "{id_type}": write '
            f'{key}_type = "{own}" in [access]'
        )
    also = " (and the same as id, if that is the project's)" if key == "project" else ""
    canonical = canonical_expression(text, found.name)
    return (
        f"{text} is of type {found.name}, which can write equal values differently: write "
        f'{key} = "{canonical}"{also}, or another expression that gives equal ids one '
        "spelling, and compare and return the same in the [access] query and members"
    )

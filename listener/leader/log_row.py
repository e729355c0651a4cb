"""Rows of the change log, and the canonical spelling of their ids."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from shared.config.access_rules import AccessRules
from shared.protocol.channels import IdType, canonical_id


@dataclass(frozen=True, slots=True)
class LogRow:
    """A row of ``change_log``.

    Action ``RECONNECT`` resets its project, or everything if it has none; ``resource`` is the
    reason. Action ``LOST`` is an UPDATE of a project's own row that took the project from
    ``user_id``, who owned it until then.
    """

    project_id: str | None
    user_id: str | None
    resource: str
    id: str | None
    action: str
    at: datetime | None


@dataclass(frozen=True, slots=True)
class CanonicalRow:
    """A row, and its ids as channels spell them; None where there is no valid id."""

    row: LogRow
    project_id: str | None
    user_id: str | None


def row_canonicalizer(rules: AccessRules) -> Callable[[LogRow], CanonicalRow]:
    """Return a function that spells the ids of rows canonically, parsing each id once.

    Ids are accepted in any spelling, since a row may have been written by hand. A value that is
    not a valid id names a channel that nobody can subscribe to.
    """
    known: dict[tuple[str, IdType], str | None] = {}

    def canonical(text: str | None, id_type: IdType) -> str | None:
        if text is None:
            return None
        if (text, id_type) not in known:
            known[text, id_type] = canonical_id(text, id_type)
        return known[text, id_type]

    def canonicalize(row: LogRow) -> CanonicalRow:
        return CanonicalRow(
            row,
            canonical(row.project_id, rules.project_type),
            canonical(row.user_id, rules.user_type),
        )

    return canonicalize

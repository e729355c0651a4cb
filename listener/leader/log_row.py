"""Rows of the change log, as they are read."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from listener.capture.log_actions import LOST as LOST
from listener.capture.log_actions import RECONNECT as RECONNECT
from shared.config.access_rules import AccessRules
from shared.protocol.channels import IdType, canonical_id


@dataclass(frozen=True, slots=True)
class LogRow:
    """A row of ``change_log``.

    Action ``RECONNECT`` widens: to its project, or to everything where it has none;
    ``resource`` is the reason. Action ``LOST`` is an UPDATE of a project that took it from the
    user named, who owned it until then.
    """

    project_id: str | None
    user_id: str | None
    resource: str
    id: str | None
    action: str
    at: datetime | None


@dataclass(frozen=True, slots=True)
class NamedRow:
    """A row with its ids as they name channels; None where it has none that can."""

    row: LogRow
    project_id: str | None
    user_id: str | None


def name_rows(rules: AccessRules) -> Callable[[LogRow], NamedRow]:
    """Names rows, each id looked at once.

    An id is taken in any spelling, since whoever logged it may have written it by hand; what is
    no id of its type names a channel that nobody can subscribe to.
    """
    known: dict[tuple[str, IdType], str | None] = {}

    def canonical(text: str | None, id_type: IdType) -> str | None:
        if text is None:
            return None
        if (text, id_type) not in known:
            known[text, id_type] = canonical_id(text, id_type)
        return known[text, id_type]

    def name(row: LogRow) -> NamedRow:
        return NamedRow(
            row,
            canonical(row.project_id, rules.project_type),
            canonical(row.user_id, rules.user_type),
        )

    return name

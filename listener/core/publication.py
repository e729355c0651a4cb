"""What goes stale for whom: rows of the change log -> events on channels."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeAlias

from shared.core.channels import MAX_ID_BYTES, Channel, IdType, InvalidId, parse_id
from shared.core.protocol import (
    ACTIONS,
    Event,
    Publishable,
    Reason,
    as_reason,
    publishable_event,
    publishable_reconnect,
)

RECONNECT: Final = "RECONNECT"
USER_MAX_ROWS: Final = 100  # of the log of a user's channel


@dataclass(frozen=True, slots=True)
class LogRow:
    """A row of ``change_log``.

    Action ``RECONNECT`` widens: to its project, or to everything where it has none;
    ``resource`` is the reason.
    """

    project_id: str | None
    user_id: str | None
    resource: str
    id: str | None
    action: str
    at: datetime | None


@dataclass(frozen=True, slots=True)
class Reset:
    """Everything may be stale for everybody.

    Not ``live``: even after it, changes may be committed that were not captured.
    """

    reason: Reason
    live: bool = True


Publication: TypeAlias = dict[Channel, list[Publishable]]


def plan_publication(
    rows: Iterable[LogRow], *, project_type: IdType, max_rows: int
) -> Publication | Reset:
    """What the rows, oldest first, make stale.

    The same row and action told twice is told once, at the newest's place. A project with more
    than *max_rows* distinct rows becomes its ``reconnect``: its log could not hold them anyway.
    A project's id is taken in any spelling, since whoever logged it may have written it by
    hand; what is no id of that type names a channel that nobody can subscribe to.
    """
    events: dict[str, dict[tuple[str, str, str], Event]] = {}
    widened: dict[str, Reason] = {}
    spellings: dict[str, str | None] = {}
    for row in rows:
        if row.action == RECONNECT and row.project_id is None:
            return Reset(as_reason(row.resource))
        if row.project_id is None:
            continue
        if row.project_id not in spellings:
            spellings[row.project_id] = _canonical(row.project_id, project_type)
        if (project_id := spellings[row.project_id]) is None:
            continue
        told = events.setdefault(project_id, {})
        if row.action == RECONNECT:
            widened[project_id] = as_reason(row.resource)
        elif event := _event_of(row, project_id):
            key = (event.resource, event.id, event.action)
            told.pop(key, None)
            told[key] = event
        else:
            widened[project_id] = "bulk_change"
        if len(told) > max_rows:
            widened.setdefault(project_id, "bulk_change")
    return {
        Channel("project", project_id): _publishable(project_id, told, widened.get(project_id))
        for project_id, told in events.items()
    }


def _publishable(
    project_id: str, told: Mapping[tuple[str, str, str], Event], widened: Reason | None
) -> list[Publishable]:
    channel = Channel("project", project_id)
    if widened is not None:
        return [publishable_reconnect(widened, channel)]
    return [publishable_event(event, channel) for event in told.values()]


def _event_of(row: LogRow, project_id: str) -> Event | None:
    """The row as an event; None if no event can say it."""
    if row.id is None or len(row.id.encode()) > MAX_ID_BYTES or row.at is None:
        return None
    if row.action not in ACTIONS:
        return None
    return Event(row.resource, row.id, row.action, project_id, row.at)


def _canonical(project_id: str, project_type: IdType) -> str | None:
    try:
        return parse_id(project_id, project_type)
    except InvalidId:
        return None

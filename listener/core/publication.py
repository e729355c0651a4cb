"""What goes stale for whom: rows of the change log -> events on channels."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeAlias

from shared.core.channels import MAX_ID_BYTES, Channel
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


def plan_publication(rows: Iterable[LogRow], *, max_rows: int) -> Publication | Reset:
    """What the rows, oldest first, make stale.

    The same row and action told twice is told once, at the newest's place. A project with more
    than *max_rows* distinct rows becomes its ``reconnect``: its log could not hold them anyway.
    """
    events: dict[str, dict[tuple[str, str, str], Event]] = {}
    widened: dict[str, Reason] = {}
    for row in rows:
        if row.action == RECONNECT and row.project_id is None:
            return Reset(as_reason(row.resource))
        if row.project_id is None:
            continue
        told = events.setdefault(row.project_id, {})
        if row.action == RECONNECT:
            widened[row.project_id] = as_reason(row.resource)
        elif (
            row.id is None
            or len(row.id.encode()) > MAX_ID_BYTES
            or row.action not in ACTIONS
            or row.at is None
        ):
            widened[row.project_id] = "bulk_change"
        else:
            key = (row.resource, row.id, row.action)
            told.pop(key, None)
            told[key] = Event(row.resource, row.id, row.action, row.project_id, row.at)
        if len(told) > max_rows:
            widened.setdefault(row.project_id, "bulk_change")
    publication: Publication = {}
    for project_id, told in events.items():
        channel = Channel("project", project_id)
        if project_id in widened:
            publication[channel] = [publishable_reconnect(widened[project_id], channel)]
        else:
            publication[channel] = [
                publishable_event(event, channel) for event in told.values()
            ]
    return publication

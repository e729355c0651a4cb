"""What goes stale for whom: rows of the change log -> what is published."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from listener.leader.log_row import RECONNECT, LogRow, name_rows
from listener.leader.recipients import Members, UserRecipients, as_update
from shared.config.access_rules import AccessRules
from shared.protocol.channels import MAX_ID_BYTES, Channel, ChannelKind
from shared.protocol.control_messages import Recheck
from shared.protocol.events import (
    ACTIONS,
    Event,
    Publishable,
    Reason,
    as_reason,
    publishable_event,
    publishable_reconnect,
)

USER_MAX_ROWS: Final = 100  # of the log of a user's channel


@dataclass(frozen=True, slots=True)
class PublicationRules:
    """How rows are told.

    ``project_resources`` are what the rows of the projects' own table are called, ``max_rows``
    the most rows that the log of a project's channel holds.
    """

    access: AccessRules
    project_resources: frozenset[str]
    max_rows: int

    def max_rows_of(self, kind: ChannelKind) -> int:
        return USER_MAX_ROWS if kind == "user" else self.max_rows


@dataclass(frozen=True, slots=True)
class Reset:
    """Everything may be stale for everybody.

    Not ``live``: even after it, changes may be committed that were not captured. ``cause``: the
    row whose look-up gave NULL, or the table of which an expression failed, and how.
    """

    reason: Reason
    live: bool = True
    cause: str | None = None


@dataclass(frozen=True, slots=True)
class Publication:
    """What a batch of rows comes to, in the order in which it has to be published.

    A user is told of a change before their access is asked anew, which may end the
    subscription; and it is asked anew before their project's channel goes on.
    """

    users: dict[Channel, list[Publishable]]
    rechecks: list[Recheck]
    projects: dict[Channel, list[Publishable]]

    @property
    def event_count(self) -> int:
        return sum(map(len, (*self.users.values(), *self.projects.values())))


def plan_publication(
    rows: Iterable[LogRow], members: Members, rules: PublicationRules
) -> Publication | Reset:
    """What the rows, oldest first, make stale, given the *members* of the changed projects.

    The same row and action told twice is told once, at the newest's place. A channel with more
    distinct rows than its log can hold gets a ``reconnect`` instead. Access is asked anew for
    each pair that a row names, and for all of a project whose own row changed, or of which a
    row has a user who can't be named: that is never dropped.
    """
    name = name_rows(rules.access)
    named_rows = []
    for row in rows:
        if row.action == RECONNECT and row.project_id is None:
            return Reset(as_reason(row.resource), cause=row.id)
        named_rows.append(name(row))
    audience = UserRecipients(named_rows, members, rules.project_resources)
    drafts = _Drafts(rules)
    rechecks: dict[Recheck, None] = {}
    for named in named_rows:
        row, project_id = named.row, named.project_id
        if project_id is not None:
            drafts.tell("project", project_id, row, project_id, as_update(row.action))
            if audience.is_project(named):
                rechecks[Recheck(project_id, None)] = None
        if row.user_id is not None:
            if project_id is None and named.user_id is None:
                return Reset("bulk_change")  # it may concern any client
            rechecks[Recheck(project_id, named.user_id)] = None
        for user_id, action in audience.of(named):
            access = audience.changes_access(named, action)
            drafts.tell("user", user_id, row, project_id, action, access=access)
    return Publication(drafts.of("user"), list(rechecks), drafts.of("project"))


@dataclass(slots=True)
class _Draft:
    """What one channel will be told: each row once, or all of it at once."""

    told: dict[tuple[str, str, str, str | None], Event] = field(default_factory=dict)
    widened: Reason | None = None


class _Drafts:
    def __init__(self, rules: PublicationRules) -> None:
        self._rules = rules
        self._drafts: dict[ChannelKind, dict[str, _Draft]] = {"user": {}, "project": {}}

    def tell(
        self,
        kind: ChannelKind,
        id_: str,
        row: LogRow,
        project_id: str | None,
        action: str,
        *,
        access: bool = False,
    ) -> None:
        draft = self._drafts[kind].setdefault(id_, _Draft())
        if row.action == RECONNECT:
            draft.widened = as_reason(row.resource)
        elif event := _event_of(row, project_id, action, access=access):
            key = (event.resource, event.id, event.action, project_id)
            draft.told.pop(key, None)
            draft.told[key] = event
        else:
            draft.widened = "bulk_change"
        if len(draft.told) > self._rules.max_rows_of(kind):
            draft.widened = draft.widened or "bulk_change"

    def of(self, kind: ChannelKind) -> dict[Channel, list[Publishable]]:
        return {
            (channel := Channel(kind, id_)): _publishables(channel, draft)
            for id_, draft in self._drafts[kind].items()
        }


def _publishables(channel: Channel, draft: _Draft) -> list[Publishable]:
    if draft.widened is not None:
        return [publishable_reconnect(draft.widened, channel)]
    try:
        return [publishable_event(event, channel) for event in draft.told.values()]
    except (TypeError, ValueError, OverflowError):  # what no JSON or timestamp can say
        return [publishable_reconnect("bulk_change", channel)]


def _event_of(
    row: LogRow, project_id: str | None, action: str, *, access: bool
) -> Event | None:
    """The row as an event; None if no event can say it."""
    if row.id is None or row.at is None or not row.resource:
        return None
    if len(row.id.encode(errors="surrogatepass")) > MAX_ID_BYTES:
        return None
    for known in ACTIONS:
        if action == known:
            return Event(row.resource, row.id, known, project_id, row.at, access=access)
    return None

"""Plans what is published for a batch of rows of the change log."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from listener.capture.log_actions import RECONNECT
from listener.leader.log_row import LogRow, row_canonicalizer
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

USER_MAX_ROWS: Final = 100  # in the log of a user's channel


@dataclass(frozen=True, slots=True)
class PublicationRules:
    """How rows are published.

    ``project_resources`` are the resources of the projects' own table, ``max_rows`` is the most
    rows that the log of a project's channel holds. Rows of ``resources_without_access`` give
    nobody access. ``resources`` are those of all watches, by which events are counted.
    """

    access: AccessRules
    project_resources: frozenset[str]
    max_rows: int
    resources_without_access: frozenset[str] = frozenset()
    resources: frozenset[str] = frozenset()

    def max_rows_of(self, kind: ChannelKind) -> int:
        return USER_MAX_ROWS if kind == "user" else self.max_rows


@dataclass(frozen=True, slots=True)
class Reset:
    """Everything may be stale for every client.

    Not ``live``: changes that were not captured may still be committed after the reset.
    ``cause``: the row whose look-up returned NULL, or the table of which an expression failed,
    and how.
    """

    reason: Reason
    live: bool = True
    cause: str | None = None


@dataclass(slots=True)
class PublicationCounts:
    """What a publication holds: ``events`` by resource, channels with a reset instead by its
    reason, and how many rows were ``conflated`` with a later change of the same row.
    """

    events: Counter[str] = field(default_factory=Counter)
    resets: Counter[Reason] = field(default_factory=Counter)
    conflated: int = 0


@dataclass(frozen=True, slots=True)
class Publication:
    """What a batch of rows publishes, in this order.

    A user gets an event before the recheck of their access, which may end the subscription, and
    the recheck precedes further events of the project.
    """

    users: dict[Channel, list[Publishable]]
    rechecks: list[Recheck]
    projects: dict[Channel, list[Publishable]]
    counts: PublicationCounts = field(default_factory=PublicationCounts, compare=False)


def plan_publication(
    rows: Iterable[LogRow], members: Members, rules: PublicationRules
) -> Publication | Reset:
    """Plan what to publish for rows, oldest first, given the *members* of the changed projects.

    A row that occurs twice with the same action is published once, in the newest's place. A
    channel with more distinct rows than its log can hold gets a ``reconnect`` instead. Rechecks
    are never dropped: there is one for each pair of project and user that a row names, and one
    for all users of a project whose own row changed, or of which a row has an invalid user id.
    """
    canonicalize = row_canonicalizer(rules.access)
    canonical_rows = []
    for row in rows:
        if row.action == RECONNECT and row.project_id is None:
            return Reset(as_reason(row.resource), cause=row.id)
        canonical_rows.append(canonicalize(row))
    recipients = UserRecipients(
        canonical_rows, members, rules.project_resources, rules.resources_without_access
    )
    drafts = _Drafts(rules)
    rechecks: dict[Recheck, None] = {}
    for named in canonical_rows:
        row, project_id = named.row, named.project_id
        if project_id is not None:
            drafts.add("project", project_id, row, project_id, as_update(row.action))
            if recipients.is_project(named):
                rechecks[Recheck(project_id, None)] = None
        if row.user_id is not None:
            if project_id is None and named.user_id is None:
                return Reset("bulk_change")  # it may concern any client
            rechecks[Recheck(project_id, named.user_id)] = None
        for user_id, action in recipients.of(named):
            access = recipients.changes_access(named, action)
            drafts.add("user", user_id, row, project_id, action, access=access)
    users, projects = drafts.of("user"), drafts.of("project")
    return Publication(users, list(rechecks), projects, drafts.counts)


@dataclass(slots=True)
class _Draft:
    """The events of one channel, each row once, or the reason to reset the channel instead."""

    events: dict[tuple[str, str, str, str | None], Event] = field(default_factory=dict)
    reset_reason: Reason | None = None


class _Drafts:
    def __init__(self, rules: PublicationRules) -> None:
        self._rules = rules
        self._drafts: dict[ChannelKind, dict[str, _Draft]] = {"user": {}, "project": {}}
        self.counts = PublicationCounts()

    def add(
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
            draft.reset_reason = as_reason(row.resource)
        elif event := _event_of(row, project_id, action, access=access):
            before = len(draft.events)
            key = (event.resource, event.id, event.action, project_id)
            draft.events.pop(key, None)
            draft.events[key] = event
            self.counts.conflated += len(draft.events) == before
        else:
            draft.reset_reason = "bulk_change"
        if len(draft.events) > self._rules.max_rows_of(kind):
            draft.reset_reason = draft.reset_reason or "bulk_change"

    def of(self, kind: ChannelKind) -> dict[Channel, list[Publishable]]:
        channels = {}
        for id_, draft in self._drafts[kind].items():
            channel = Channel(kind, id_)
            channels[channel] = _publishables(channel, draft)
            if draft.reset_reason is None:
                self.counts.events.update(event.resource for event in draft.events.values())
            else:
                self.counts.resets[draft.reset_reason] += 1
        return channels


def _publishables(channel: Channel, draft: _Draft) -> list[Publishable]:
    if draft.reset_reason is not None:
        return [publishable_reconnect(draft.reset_reason, channel)]
    try:
        return [publishable_event(event, channel) for event in draft.events.values()]
    except (TypeError, ValueError, OverflowError):  # not expressible in JSON or as a timestamp
        draft.reset_reason = "bulk_change"
        return [publishable_reconnect("bulk_change", channel)]


def _event_of(
    row: LogRow, project_id: str | None, action: str, *, access: bool
) -> Event | None:
    """The row as an event; None if an event cannot express it."""
    if row.id is None or row.at is None or not row.resource:
        return None
    if len(row.id.encode(errors="surrogatepass")) > MAX_ID_BYTES:
        return None
    for known in ACTIONS:
        if action == known:
            return Event(row.resource, row.id, known, project_id, row.at, access=access)
    return None

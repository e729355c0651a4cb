"""What a client hands out: events, resets and its status."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, TypeAlias

Action: TypeAlias = Literal["INSERT", "UPDATE", "DELETE"]
Cursors: TypeAlias = Mapping[str, str]  # of channels: `project:<id>`, `user:<id>`


@dataclass(frozen=True, slots=True, kw_only=True)
class _Delivered:
    """``cursors``: what a client needs to continue after this message. Store them, as JSON say,
    once this message and all before it have been processed.
    """

    cursors: Cursors = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event(_Delivered):
    """A row changed.

    ``project_id`` is None for a row that belongs to no project, only to the token's user.
    ``access``: that user may have gained or lost access to the project; a reset of the project
    follows. ``timestamp``: when it changed, in UTC.
    """

    resource: str
    id: str
    action: Action
    project_id: str | None
    timestamp: datetime
    access: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Reset(_Delivered):
    """Everything of the project, or everything at all (None), may be stale.

    ``reason`` is one of the wire protocol's; ``lagged`` also if the app has left more messages
    unread than the client holds. With ``forbidden``, ``revoked`` and ``bad_request`` a project
    is not followed any longer. ``spread_seconds``: the time over which to spread the reloading
    of what nobody waits for.
    """

    project_id: str | None
    reason: str
    spread_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Status(_Delivered):
    """What is kept fresh from now on.

    ``live``: changes arrive as they happen. ``projects``: those whose changes do; empty while
    not live. ``error``: why it is not live, or why one of the projects is missing, if known.
    """

    live: bool
    projects: frozenset[str] = frozenset()
    error: str | None = None


Message: TypeAlias = Event | Reset | Status

"""The wanted projects, the cursor of each channel, and what frames do to both."""

from collections.abc import Iterable, Mapping
from typing import Literal, TypeAlias
from urllib.parse import urlencode

from neverstale.client.cursors import with_changes
from neverstale.client.effects import Deliver, Effect, Send, Warn
from neverstale.client.frames import (
    Changed,
    Connected,
    Error,
    Frame,
    Reconnect,
    Subscribed,
    Unsubscribed,
    is_user_channel,
    project_channel,
    project_of,
)
from neverstale.client.messages import Cursors, Event, Message, Reset

Phase: TypeAlias = Literal["idle", "subscribing", "subscribed", "refused"]


class Subscriptions:
    """The projects and cursors of one client. What is to be done is appended to *effects*."""

    def __init__(
        self, projects: Iterable[str], cursors: Cursors, effects: list[Effect]
    ) -> None:
        self.cursors = cursors  # as received, perhaps not processed by the app yet
        self._phases: dict[str, Phase] = dict.fromkeys(projects, "idle")
        self._in_url: str | None = None
        self._leaving: set[str] = set()  # whose `unsubscribe` is not answered yet
        self._changes: dict[str, str | None] = {}  # of cursors, since the last message
        self._effects = effects

    @property
    def subscribed(self) -> frozenset[str]:
        return frozenset(one for one, phase in self._phases.items() if phase == "subscribed")

    def phase(self, project_id: str) -> Phase | None:
        """The project's phase; None if it is not wanted."""
        return self._phases.get(project_id)

    def add(self, project_id: str) -> bool:
        """Want a project, also if it was refused. Return False if it was wanted already."""
        if self.phase(project_id) not in (None, "refused"):
            return False
        self._phases[project_id] = "idle"
        return True

    def remove(self, project_id: str, *, is_connected: bool) -> None:
        """Want a project no longer."""
        phase = self._phases.pop(project_id, None)
        self._change({project_channel(project_id): None})
        if is_connected and phase not in (None, "refused"):
            self._leave(project_id)

    def subscribe(self) -> None:
        """Send ``subscribe`` for each idle project."""
        for project_id in self._phases:
            if self._phases[project_id] == "idle":
                self._phases[project_id] = "subscribing"
                since = self.cursors.get(project_channel(project_id))
                message = {"type": "subscribe", "project_id": project_id}
                self._effects.append(
                    Send(message if since is None else message | {"since": since})
                )

    def query(self) -> str:
        """The query of the next socket's URL. It can name one project."""
        wanted = (one for one, phase in self._phases.items() if phase != "refused")
        self._in_url = next(wanted, None)
        known = [name for name in self.cursors if is_user_channel(name)]
        query = []
        if self._in_url is not None:
            query.append(("project_id", self._in_url))
            known.append(project_channel(self._in_url))
        query += [("since", self.cursors[name]) for name in known if name in self.cursors]
        return urlencode(query)

    def disconnected(self) -> None:
        """The socket closed, which ended its subscriptions."""
        self._leaving.clear()
        for project_id, phase in self._phases.items():
            if phase != "refused":
                self._phases[project_id] = "idle"

    def refuse_in_url(self, *, is_forbidden: bool) -> bool:
        """Refuse the project in the URL of a refused handshake. Return False if it is not why.

        With a single project, a bad request does not prove that its id was malformed.
        """
        project_id = self._in_url
        if project_id is None or not (is_forbidden or len(self._phases) > 1):
            return False
        self._refuse(project_id, "forbidden" if is_forbidden else "bad_request")
        return True

    def lose_access(self) -> None:
        """Access to an unnamed project was lost; the next handshake tells if it is wanted."""
        self._deliver(Reset(project_id=None, reason="forbidden"))

    def receive(self, frame: Frame) -> None:
        match frame:
            case Connected():
                self._connected(frame)
            case Subscribed():
                self._subscribed(frame)
            case Unsubscribed(project_id, is_revoked):
                self._unsubscribed(project_id, is_revoked=is_revoked)
            case Changed():
                self._changed(frame)
            case Reconnect():
                self._reset(frame)
            case Error():
                self._failed(frame)
            case _:
                pass

    def _connected(self, frame: Connected) -> None:
        if self._in_url is not None:
            self._opened(self._in_url, frame.cursors)
        lost = {name: its for name, its in frame.cursors.items() if name not in frame.resumed}
        if any(map(is_user_channel, lost)):
            self._reset_all(lost, Reset(project_id=None, reason="gap"))
        else:
            for name, cursor in lost.items():
                self._change({name: cursor})
                self._deliver(Reset(project_id=project_of(name), reason="gap"))
        self.subscribe()

    def _opened(self, in_url: str, cursors: Cursors) -> None:
        """The socket has opened with the project of its URL, among these channels."""
        if project_channel(in_url) not in cursors:
            self._warn_of_spelling(
                *(project_of(one) for one in cursors if not is_user_channel(one))
            )
            self._refuse(in_url, "bad_request")
            self._leave(in_url)
        elif in_url in self._phases:
            self._phases[in_url] = "subscribed"
        else:
            self._leave(in_url)

    def _subscribed(self, frame: Subscribed) -> None:
        project_id = frame.project_id
        if project_id in self._phases:
            self._phases[project_id] = "subscribed"
        elif project_id not in self._leaving:
            self._warn_of_spelling(project_id)
            self._leave(project_id)
        # If it is resumed, the frame repeats our cursor; replayed events may be ahead of it.
        if not frame.is_resumed:
            self._change({project_channel(project_id): frame.cursor})
            self._deliver(Reset(project_id=project_id, reason="gap"))

    def _unsubscribed(self, project_id: str, *, is_revoked: bool) -> None:
        self._leaving.discard(project_id)
        if is_revoked:
            self._refuse(project_id, "revoked")
        elif project_id not in self._phases:
            # an event that was on its way has brought another cursor
            self._change({project_channel(project_id): None})

    def _changed(self, frame: Changed) -> None:
        changes: dict[str, str | None] = {frame.channel: frame.cursor}
        project_id = frame.project_id
        if frame.is_access_change and project_id is not None:
            changes[project_channel(project_id)] = None
        self._change(changes)
        self._deliver(
            Event(
                resource=frame.resource,
                id=frame.id,
                action=frame.action,
                project_id=project_id,
                timestamp=frame.timestamp,
                access=frame.is_access_change,
            )
        )
        if frame.is_access_change and project_id is not None:
            # What was read without access may have been cached as "there is no such row".
            self._deliver(Reset(project_id=project_id, reason="access_changed"))
            if project_id in self._phases:
                self._phases[project_id] = "idle"
            self.subscribe()

    def _reset(self, frame: Reconnect) -> None:
        reset = Reset(
            project_id=frame.project_id,
            reason=frame.reason,
            spread_seconds=frame.spread_seconds,
        )
        if frame.project_id is None:
            self._reset_all(frame.cursors, reset)
            self.subscribe()
        else:
            self._change(frame.cursors)
            self._deliver(reset)

    def _failed(self, frame: Error) -> None:
        project_id = frame.project_id
        if project_id is None:
            return
        if frame.code in ("forbidden", "bad_request"):
            self._refuse(project_id, frame.code)
        elif project_id in self._phases:
            self._phases[project_id] = "idle"

    def _reset_all(self, cursors: Cursors, reset: Reset) -> None:
        """Keep only the given cursors; the other projects are to be subscribed to again."""
        self._change({**dict.fromkeys(self.cursors), **cursors})
        self._deliver(reset)
        for project_id, phase in self._phases.items():
            if phase != "refused" and project_channel(project_id) not in cursors:
                self._phases[project_id] = "idle"

    def _refuse(self, project_id: str, reason: str) -> None:
        if project_id in self._phases:
            self._phases[project_id] = "refused"
        self._change({project_channel(project_id): None})
        self._deliver(Reset(project_id=project_id, reason=reason))

    def _warn_of_spelling(self, *project_ids: str) -> None:
        ids = ", ".join(project_ids)
        self._effects.append(Warn(f"write the project as the gateway spells it: {ids}"))

    def _leave(self, project_id: str) -> None:
        self._leaving.add(project_id)
        self._effects.append(Send({"type": "unsubscribe", "project_id": project_id}))

    def _change(self, changes: Mapping[str, str | None]) -> None:
        self.cursors = with_changes(self.cursors, changes)
        self._changes |= changes

    def _deliver(self, message: Message) -> None:
        self._effects.append(Deliver(message, self._changes))
        self._changes = {}

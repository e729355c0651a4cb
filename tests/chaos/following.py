"""How a client reacts to each frame: wire.md, sections 2 and 3. Shares no code with client/."""

import math
import re
from collections.abc import Mapping
from typing import Any, Final, Protocol, TypeAlias

from tests.chaos.cache import LIST, Cache
from tests.chaos.pages import TABLES
from tests.chaos.plan import Style

JsonObject: TypeAlias = dict[str, Any]

AGE_LIMIT_SECONDS: Final = 5.0  # from computing an age to its answer


class Follower(Protocol):
    """One browser's side of the protocol."""

    def query(self, now: float) -> list[tuple[str, str]]: ...

    def receive(self, frame: Mapping[str, Any], now: float) -> list[JsonObject]: ...

    def closed(self, code: int | None) -> None: ...


def mark_row(cache: Cache, style: Style, frame: Mapping[str, Any]) -> None:
    """Mark the row that an event names as stale, or its project for the "lists" style."""
    project, resource = str(frame["project_id"]), str(frame["resource"])
    if resource not in TABLES:
        return  # a resource that it does not show
    if style == "lists":
        cache.mark("project", project)
    else:
        cache.mark("row", project, resource, str(frame["data"]["id"]))
    if resource == "project":
        cache.mark(*LIST)


class PlainFollower:
    """A plain client: follows ``cache_invalidate`` and ``reconnect`` of one project."""

    def __init__(self, cache: Cache, project: str, style: Style) -> None:
        self.is_refused = False
        self._cache = cache
        self._project = project
        self._style = style

    def query(self, now: float) -> list[tuple[str, str]]:
        return [("project_id", self._project)]

    def receive(self, frame: Mapping[str, Any], now: float) -> list[JsonObject]:
        match frame["type"]:
            case "cache_invalidate":
                mark_row(self._cache, self._style, frame)
            case "reconnect":
                self._cache.reset_all()
            case _:
                pass  # plain clients ignore all other frames
        return []

    def closed(self, code: int | None) -> None:
        self.is_refused = code == 4403
        self._cache.mark(*LIST)


class V1Follower:
    """A v1 client: resumes, and follows all projects of its user."""

    def __init__(self, cache: Cache, style: Style, *, uses_age: bool) -> None:
        self.subscribed: set[str] = set()
        # unanswered subscribe messages: when their age was computed, infinity without one
        self._asked: dict[str, float] = {}
        self._cursors: dict[str, str] = {}
        self._cache = cache
        self._style = style
        self._uses_age = uses_age
        self._home: str | None = None
        self._aged_at: float | None = None
        self._skipped: str | None = None

    @property
    def own_channel(self) -> str:
        return f"user:{self._cache.user}"

    def query(self, now: float) -> list[tuple[str, str]]:
        """Return the handshake's query. After a 4403 it leaves out that project."""
        self.subscribed.clear()
        self._asked.clear()
        wanted = [project for project in self._cache.list or () if project != self._skipped]
        self._home = wanted[0] if wanted else None
        self._aged_at = None
        query = [("project_id", self._home)] if self._home else []
        known = [self.own_channel, *([f"project:{self._home}"] if self._home else ())]
        query += [("since", self._cursors[name]) for name in known if name in self._cursors]
        if self._uses_age and not self._cursors and self._home:
            self._aged_at = now
            query.append(("age", str(_milliseconds(now - self._cache.oldest_load))))
        return query

    def receive(self, frame: Mapping[str, Any], now: float) -> list[JsonObject]:
        match frame["type"]:
            case "connected":
                return self._greeted(frame, now)
            case "subscribed":
                self._answered(frame, now)
            case "cache_invalidate":
                return self._invalidated(frame)
            case "reconnect":
                return self._reset(frame)
            case "unsubscribed":
                self.subscribed.discard(frame["project_id"])
                self._cache.mark(*LIST)
            case "error" if frame.get("project_id"):
                self._asked.pop(frame["project_id"], None)
                self._cache.mark(*LIST)
            case _:
                pass
        return []

    def _greeted(self, frame: Mapping[str, Any], now: float) -> list[JsonObject]:
        late = self._aged_at is not None and now - self._aged_at > AGE_LIMIT_SECONDS
        resumed = () if late else frame["resumed"]
        self._cursors.update(frame["cursors"])
        answers: list[JsonObject] = []
        for name in frame["cursors"]:
            kind, _, id_ = name.partition(":")
            if kind == "project":
                self.subscribed.add(id_)
            if name in resumed:
                continue
            if kind == "project":
                self._cache.reset(id_)
            else:
                answers += self._reset_own(spared=self._fresh(frame, resumed))
        return answers + self.wants(now)

    def _fresh(self, frame: Mapping[str, Any], resumed: Any) -> set[str]:
        """Projects whose cursor this same frame replaces."""
        names = set(frame["cursors"]) - set(resumed)
        return {name.partition(":")[2] for name in names if name.startswith("project:")}

    def _reset_own(self, *, spared: set[str]) -> list[JsonObject]:
        """Reset ``user:``: all projects are stale and their cursors are dropped."""
        self._cache.mark(*LIST)
        answers = []
        for project in {*self._cache.rows, *self.subscribed} - spared:
            answers += self._forget(project)
        return answers

    def _forget(self, project: str) -> list[JsonObject]:
        self._cache.reset(project)
        self._cursors.pop(f"project:{project}", None)
        return (
            [{"type": "subscribe", "project_id": project}] if project in self.subscribed else []
        )

    def _answered(self, frame: Mapping[str, Any], now: float) -> None:
        project = frame["project_id"]
        late = now - self._asked.pop(project, now) > AGE_LIMIT_SECONDS
        self.subscribed.add(project)
        self._cursors[f"project:{project}"] = frame["cursor"]
        if not frame["resumed"] or late:
            self._cache.reset(project)

    def _invalidated(self, frame: Mapping[str, Any]) -> list[JsonObject]:
        channel, project = str(frame["channel"]), str(frame["project_id"])
        self._cursors[channel] = frame["cursor"]
        mark_row(self._cache, self._style, frame)
        if channel != self.own_channel:
            return []
        if frame.get("access"):
            self._cache.mark(*LIST)
            return self._forget(project)
        return []

    def _reset(self, frame: Mapping[str, Any]) -> list[JsonObject]:
        cursors = frame.get("cursors", {})
        self._cursors.update(cursors)
        if frame.get("project_id"):
            self._cache.reset(frame["project_id"])
            return []
        self._cache.reset_all()
        if self.own_channel not in cursors:
            return []
        renewed = {name.partition(":")[2] for name in cursors if name.startswith("project:")}
        return self._reset_own(spared=renewed)

    def wants(self, now: float) -> list[JsonObject]:
        """Return subscribe messages for listed projects without a subscription."""
        messages = []
        for project in self._cache.list or ():
            if project in self.subscribed or project in self._asked:
                continue
            if project not in self._cache.rows:
                self._cache.mark("project", project)
            message: JsonObject = {"type": "subscribe", "project_id": project}
            cursor = self._cursors.get(f"project:{project}")
            if cursor is not None:
                message["since"] = cursor
            elif self._uses_age and self._cache.has_loaded(project):
                message["age"] = _milliseconds(now - self._cache.loads[project].began[-1])
            self._asked[project] = now if "age" in message else math.inf
            messages.append(message)
        return messages

    def closed(self, code: int | None) -> None:
        """Handle a close. After 4403 the next handshake omits the project."""
        self._skipped = self._home if code == 4403 else None
        self._cache.mark(*LIST)


class StreamFollower(V1Follower):
    """Follows all projects of its user by server-sent events: other projects, and those whose
    cursor it has discarded, need another stream.
    """

    def __init__(self, cache: Cache, style: Style, *, uses_age: bool) -> None:
        super().__init__(cache, style, uses_age=uses_age)
        self.last_id = ""  # of the newest event that it has received

    def query(self, now: float) -> list[tuple[str, str]]:
        """Return the query of a stream, which the header ``Last-Event-ID`` completes."""
        self.subscribed.clear()
        self._asked.clear()
        query = [("project_id", project) for project in self._cache.list or ()]
        self._aged_at = None
        if self._uses_age and not self._cursors and query:
            self._aged_at = now
            query.append(("age", str(_milliseconds(now - self._cache.oldest_load))))
        elif not self.last_id:
            query += [("since", cursor) for cursor in self._cursors.values()]
        return query


def _milliseconds(seconds: float) -> int:
    return math.ceil(seconds * 1000)


def safe_text(text: str) -> str:
    """Return a frame's text without its cursors, for the timeline."""
    return re.sub(r'"cursor(s)?":("[^"]*"|\{[^}]*\}),?', "", text)

"""Browsers: what they hold, what they take for stale, and what they were told.

Written from ``wire.md`` alone. A *plain* one comes back with nothing and refetches what it is
told; a *v1* one comes back with its cursors, or with the age of its page.
"""

import math
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from shared.protocol.replay import Cursor, parse_cursor
from tests.simulation.database import PROJECT_OF, ROWS, Database
from tests.simulation.gateway import Gateway
from tests.simulation.published import Published, frames_of
from tests.simulation.servers import Violation
from tests.simulation.sockets import Request, Socket

LATE_SECONDS: Final = 5.0
LIST: Final = "projects"  # fetched like a row


@dataclass(slots=True)
class Page:
    """What outlives the socket, and, saved, the page."""

    cache: dict[str, Any] = field(default_factory=dict)
    fetched_at: dict[str, float] = field(default_factory=dict)
    stale: set[str] = field(default_factory=set)
    cursors: dict[str, str] = field(default_factory=dict)
    told: dict[tuple[str, bytes], int] = field(default_factory=dict)
    reset_at: dict[str, int] = field(default_factory=dict)  # by channel

    def copy(self) -> "Page":
        return deepcopy(self)


class Browser:
    """One user's page that shows some projects."""

    def __init__(
        self,
        name: str,
        user: str,
        wanted: tuple[str, ...],
        database: Database,
        published: Published,
        *,
        is_v1: bool,
    ) -> None:
        self.name = name
        self.user = user
        self.wanted = wanted
        self.is_v1 = is_v1
        self._database = database
        self._published = published
        self.socket: Socket | None = None
        self.gateway: Gateway | None = None
        self.phase: dict[str, str] = {}
        self.under_way: dict[str, tuple[Any, float, bool]] = {}
        self.saved: Page | None = None
        self._reckoned_at: dict[str, float] = {}
        self.is_live = True
        self.load(0.0)

    @property
    def channels(self) -> list[str]:
        return [f"user:{self.user}", *(f"project:{project}" for project in self.wanted)]

    def load(self, now: float) -> None:
        """A page load: everything is fetched anew."""
        self.hang_up()
        self.page = Page()
        self.under_way.clear()
        self.phase = dict.fromkeys(self.wanted, "idle")
        for what in (LIST, *(row for project in self.wanted for row in ROWS[project])):
            self.page.cache[what] = self._look(what)
            self.page.fetched_at[what] = now
        self.page.reset_at = dict.fromkeys(self.channels, self._published.number)

    def reload(self, now: float) -> None:
        """The page is loaded from what it saved: cache and cursors of one moment."""
        if self.saved is not None:
            self.load(now)
            self.page = self.saved.copy()

    def _look(self, what: str) -> Any:
        if what == LIST:
            return self._database.projects_of(self.user)
        return self._database.value(what, self.user)

    def hang_up(self) -> None:
        if self.socket is not None:
            self.socket.hang_up()
        self.socket = self.gateway = None
        for project, phase in self.phase.items():
            self.phase[project] = "refused" if phase == "refused" else "idle"

    def connect(self, gateway: Gateway, now: float) -> None:
        open_to = [project for project in self.wanted if self.phase[project] != "refused"]
        if self.socket is not None or (not self.is_v1 and not open_to):
            return
        query = [("project_id", open_to[0])] if open_to else []
        channels = [f"user:{self.user}", *(f"project:{project}" for project in open_to[:1])]
        if self.is_v1:
            cursors = [self.page.cursors.get(channel) for channel in channels]
            query += [("since", cursor) for cursor in cursors if cursor is not None]
            if None in cursors:
                query.append(("age", self._age(channels, now)))
        else:
            self.page.stale |= set(self.page.cache)  # nothing says what it missed
        request = Request(self.user, query, is_v1=self.is_v1)
        request.socket = Socket(request, gateway.loop)
        for project in open_to[:1]:
            self.phase[project] = "joining"
        self.socket, self.gateway = request.socket, gateway
        gateway.open(request)

    def _age(self, channels: list[str], now: float) -> str:
        for channel in channels:
            self._reckoned_at[channel] = now
        oldest = min(self.page.fetched_at.values())
        return str(math.ceil((now - oldest) * 1000))

    def _join(self, now: float) -> None:
        if self.socket is None or not self.is_v1:
            return
        for project in self.wanted:
            if self.phase[project] == "idle":
                self.phase[project] = "joining"
                channel = f"project:{project}"
                message: dict[str, Any] = {"type": "subscribe", "project_id": project}
                if channel in self.page.cursors:
                    message["since"] = self.page.cursors[channel]
                else:
                    message["age"] = int(self._age([channel], now))
                self.socket.say(orjson.dumps(message).decode())

    def be_slow(self) -> None:
        """It reads nothing until it browses again, and no more is written to it."""
        if self.socket is not None:
            self.socket.is_slow = True

    def retry(self, now: float) -> None:
        """Ask again for what could not be joined."""
        self._join(now)

    def take(self, now: float) -> bool:
        """Read what is there of one write; whether there was anything."""
        if self.socket is None:
            return False
        if self.socket.status is not None:
            self._closed(4403 if self.socket.status == 403 else 1013, now)
            return True
        if not self.socket.frames:
            if self.socket.has_left:  # the gateway aborted it
                self._closed(1006, now)
            return False
        for opcode, payload in frames_of(self.socket.frames.pop(0)):
            if opcode == 8:
                self._closed(int.from_bytes(payload[:2], "big"), now)
                break
            if opcode == 9:
                self.socket.pong()
            else:
                self._hear(orjson.loads(payload), now)
        return True

    def _closed(self, code: int, now: float) -> None:
        assert self.socket is not None
        current = [self.socket.request.project] if self.socket.request.project else []
        if any(phase == "joined" for phase in self.phase.values()):
            current = [p for p, phase in self.phase.items() if phase != "refused"]
        self.hang_up()
        if code == 4403:
            for project in current:
                self._refused(project)

    def _refused(self, project: str) -> None:
        self.phase[project] = "refused"
        self.page.cursors.pop(f"project:{project}", None)
        self._take_for_stale(project)

    def _hear(self, message: dict[str, Any], now: float) -> None:
        match message["type"]:
            case "connected":
                self._connected(message, now)
            case "subscribed":
                project = message["project_id"]
                self.phase[project] = "joined"
                self._begin(f"project:{project}", message["cursor"], message["resumed"], now)
            case "cache_invalidate":
                self._changed(message, now)
            case "reconnect":
                self._reconnect(message, now)
            case "unsubscribed":
                self._refused(message["project_id"])
            case "error" if message.get("project_id") is not None:
                if message["code"] == "forbidden":
                    self._refused(message["project_id"])
                else:
                    self.phase[message["project_id"]] = "idle"
            case "status":
                self.is_live = message["live"]
            case _:
                pass

    def _connected(self, message: dict[str, Any], now: float) -> None:
        self.is_live = True
        for project in self.wanted:
            if f"project:{project}" in message["cursors"]:
                self.phase[project] = "joined"
        own = f"user:{self.user}"
        places = message["cursors"]
        # of the user's own channel first: its reset is one of every project
        for channel in sorted(places, key=lambda channel: channel != own):
            self._begin(channel, places[channel], channel in message["resumed"], now)
        self._join(now)

    def _begin(self, channel: str, cursor: str, is_resumed: bool, now: float) -> None:
        before = self.page.cursors.get(channel)
        is_late = now - self._reckoned_at.get(channel, now) > LATE_SECONDS
        if not is_resumed or (before is None and is_late):
            self._reset(channel)
        elif before is not None:
            return  # it repeats the client's own place
        self._hold(channel, cursor)

    def _reset(self, channel: str | None) -> None:
        """Everything of the channel is stale; of the user's own, or of none: everything."""
        kind, _, project = (channel or "user:").partition(":")
        number = self._published.number
        if kind == "project":
            self.page.reset_at[channel or ""] = number
            self._take_for_stale(project)
            return
        self.page.reset_at = dict.fromkeys(self.channels, number)
        self.page.cursors.clear()
        self.phase = {p: "joining" if s == "joining" else "idle" for p, s in self.phase.items()}
        for what in self.page.cache:
            self._invalidate(what)

    def _changed(self, message: dict[str, Any], now: float) -> None:
        resource, action, project = (message[k] for k in ("resource", "action", "project_id"))
        channel, id_ = message["channel"], message["data"]["id"]
        mark = [True] if "access" in message else []
        member = orjson.dumps([resource, id_, action, project, *mark])
        self.page.told[channel, member] = self._published.number
        self._hold(channel, message["cursor"])
        if resource == "task":
            self._invalidate(id_)
            return
        self._invalidate(LIST)
        if mark and self.is_v1:
            self.page.cursors.pop(f"project:{project}", None)
            self._take_for_stale(project)
            if project in self.phase:
                self.phase[project] = "idle"
                self._join(now)

    def _reconnect(self, message: dict[str, Any], now: float) -> None:
        places = message.get("cursors", {})
        if "project_id" in message:
            self._reset(f"project:{message['project_id']}")
        else:
            self._reset(None)
            for project in self.wanted:
                if f"project:{project}" in places:
                    self.phase[project] = "joined"
        for channel, cursor in places.items():
            self._hold(channel, cursor)
        self._join(now)

    def _hold(self, channel: str, text: str) -> None:
        """Keep a cursor: what is up to it was told, or changed again above it."""
        if channel not in self.channels:
            return
        cursor = parse_cursor(text)
        assert cursor is not None
        self.page.cursors[channel] = text
        if self.is_v1:
            self._check_order(channel, cursor)

    def _check_order(self, channel: str, cursor: Cursor) -> None:
        for member, number in self._published.up_to(cursor):
            told = max(
                self.page.told.get((channel, member), 0),
                self.page.told.get((channel, b"*"), 0),
                self.page.reset_at[channel],
            )
            if told < number:
                raise Violation(
                    f"{self.name} holds {cursor} but was not told {member.decode()}"
                )

    def _take_for_stale(self, project: str) -> None:
        self._invalidate(LIST)
        for row in ROWS[project]:
            self._invalidate(row)

    def _invalidate(self, what: str) -> None:
        if what in self.page.cache:
            self.page.stale.add(what)
            if what in self.under_way:
                self.under_way[what] = (*self.under_way[what][:2], True)

    def fetch(self, which: int, now: float) -> bool:
        """The request reaches the server; whether anything was to be fetched."""
        todo = sorted(self.page.stale - self.under_way.keys())
        if todo:
            what = todo[which % len(todo)]
            self.under_way[what] = (self._look(what), now, False)
        return bool(todo)

    def fetched(self, which: int) -> bool:
        """An answer arrives; what was invalidated meanwhile stays stale."""
        if not self.under_way:
            return False
        what = sorted(self.under_way)[which % len(self.under_way)]
        value, at, again = self.under_way.pop(what)
        self.page.cache[what], self.page.fetched_at[what] = value, at
        if not again:
            self.page.stale.discard(what)
        return True

    def look_around(self, what: str, now: float) -> None:
        """A refetch that nothing asked for, as on focus."""
        if what in self.page.cache and what not in self.under_way:
            self.page.cache[what], self.page.fetched_at[what] = self._look(what), now

    def complaint(self) -> str | None:
        """What is not as it must be when all is at rest."""
        may_see = [p for p in self.wanted if self._database.may_see(p, self.user)]
        if not self.is_v1 and self.phase[self.wanted[0]] == "refused":
            return None  # its socket was ended with 4403: it knows, and does not come back
        if not self.is_v1:
            may_see = [p for p in may_see if p == self.wanted[0]]
        for what in (LIST, *(r for r in self.page.cache if PROJECT_OF.get(r) in may_see)):
            if self.page.cache[what] != self._look(what):
                return f"stale: {self.name}: {what}: {self.page.cache[what]}"
        if self.page.stale or self.under_way:
            return f"stuck: {self.name} still fetches"
        if self.socket is None and (self.is_v1 or may_see):
            return f"stuck: {self.name} has no socket"
        for project in may_see:
            if self.phase[project] != "joined" and self.is_v1:
                return f"stuck: {self.name} does not hear of {project}: {self.phase[project]}"
        if not self.is_live:
            return f"stuck: {self.name} thinks that nothing is told"
        return None

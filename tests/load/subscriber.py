"""One client across all its connections: the changes it received and its cursors."""

import time
from array import array
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from tests.load.accounting import OF_ANOTHER_PROJECT, Microseconds
from tests.load.wire import EVENT_HEAD, Refused, read_row, uuid_of


@dataclass(frozen=True)
class Assignment:
    """Number, project and gateway port of a subscriber that is to be connected.

    *is_slow*: it stops reading when told to; *is_cut*: its connection is cut when told to. The
    latencies are those of the others.
    """

    number: int
    project: int
    port: int
    is_slow: bool
    is_cut: bool


@dataclass
class Tally:
    """What all subscribers of a process record together."""

    base_ns: int
    latencies_us: defaultdict[int, Microseconds] = field(
        default_factory=lambda: defaultdict(lambda: array("I"))
    )
    delivered: int = 0
    resets: int = 0
    returned_us: list[int] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def now_us(self) -> int:
        return (time.monotonic_ns() - self.base_ns) // 1000


class Subscriber:
    """Received changes and cursors of one client."""

    __slots__ = (
        "_cursors",
        "_is_v1",
        "_newest",
        "_tally",
        "assignment",
        "left_us",
        "reset_us",
        "seen",
        "token",
    )

    def __init__(
        self, assignment: Assignment, tally: Tally, token: str, *, is_v1: bool
    ) -> None:
        self.assignment = assignment
        self.token = token
        self.seen = bytearray()
        self.reset_us = 0
        self.left_us: int | None = None
        self._tally = tally
        self._is_v1 = is_v1
        self._newest: bytes | None = None
        self._cursors: dict[str, str] = {}

    @property
    def cursors(self) -> list[str]:
        """The newest cursor of each channel."""
        if self._newest is not None:
            frame = orjson.loads(self._newest)
            self._cursors[frame["channel"]] = frame["cursor"]
            self._newest = None
        return list(self._cursors.values())

    def receive(self, payload: bytes) -> None:
        """Record a frame."""
        if not payload.startswith(EVENT_HEAD):
            self._receive_other(orjson.loads(payload))
            return
        self._newest = payload
        sent_us, project, change = read_row(payload)
        tally, seen = self._tally, self.seen
        if project != self.assignment.project:
            tally.counts[OF_ANOTHER_PROJECT] += 1
            return
        if change >= len(seen):
            seen.extend(bytes(change + 1 - len(seen)))
        elif seen[change]:
            tally.counts["told twice"] += 1
            return
        seen[change] = 1
        tally.delivered += 1
        if not (self.assignment.is_slow or self.assignment.is_cut):
            tally.latencies_us[sent_us // 1_000_000].append(tally.now_us() - sent_us)

    def _receive_other(self, frame: Mapping[str, Any]) -> None:
        match frame["type"]:
            case "connected":
                self._greeted(is_resumed=self._channel in frame.get("resumed", ()))
            case "reconnect" if not self._is_v1 and frame["data"]["reason"] == "connected":
                self._greeted(is_resumed=False)
            case "reconnect" if frame.get("project_id") in (
                None,
                uuid_of(self.assignment.project),
            ):
                self._tally.counts[f"reset: {frame['data']['reason']}"] += 1
                self._reset()
            case "error":
                raise Refused(str(frame["code"]))
            case kind:
                self._tally.counts[f"frame: {kind}"] += 1
        self.cursors  # noqa: B018 the cursor of the newest event is older than this frame's
        self._cursors.update(frame.get("cursors", {}))

    @property
    def _channel(self) -> str:
        return f"project:{uuid_of(self.assignment.project)}"

    def _greeted(self, *, is_resumed: bool) -> None:
        if not is_resumed:
            self.reset_us = self._tally.now_us()
        if self.left_us is None:
            return
        self._tally.returned_us.append(self._tally.now_us() - self.left_us)
        self.left_us = None
        self._tally.counts["returned, resumed" if is_resumed else "returned, reset"] += 1

    def _reset(self) -> None:
        self.reset_us = self._tally.now_us()
        self._tally.resets += 1


class ForgetfulSubscriber(Subscriber):
    """Ignores its project's second change, which the accounting must find."""

    __slots__ = ()

    def receive(self, payload: bytes) -> None:
        if not payload.startswith(EVENT_HEAD) or read_row(payload)[2] != 1:
            super().receive(payload)

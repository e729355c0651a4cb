"""One client across all its connections: what it was told, and where it is."""

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
class Place:
    """One subscriber to be: who it is, and what it hears."""

    number: int
    project: int
    port: int
    is_slow: bool


@dataclass
class Tally:
    """What all subscribers of a process record."""

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
    """What one client has recorded and holds."""

    __slots__ = (
        "_cursors",
        "_is_v1",
        "_newest",
        "_tally",
        "left_us",
        "place",
        "reset_us",
        "seen",
        "token",
    )

    def __init__(self, place: Place, tally: Tally, token: str, *, is_v1: bool) -> None:
        self.place = place
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
        """Its place in each channel."""
        if self._newest is not None:
            frame = orjson.loads(self._newest)
            self._cursors[frame["channel"]] = frame["cursor"]
            self._newest = None
        return list(self._cursors.values())

    def hear(self, payload: bytes) -> None:
        """Record a frame."""
        if not payload.startswith(EVENT_HEAD):
            self._hear_other(orjson.loads(payload))
            return
        self._newest = payload
        sent_us, project, change = read_row(payload)
        tally, seen = self._tally, self.seen
        if project != self.place.project:
            tally.counts[OF_ANOTHER_PROJECT] += 1
            return
        if change >= len(seen):
            seen.extend(bytes(change + 1 - len(seen)))
        elif seen[change]:
            tally.counts["told twice"] += 1
            return
        seen[change] = 1
        tally.delivered += 1
        if not self.place.is_slow:
            tally.latencies_us[sent_us // 1_000_000].append(tally.now_us() - sent_us)

    def _hear_other(self, frame: Mapping[str, Any]) -> None:
        match frame["type"]:
            case "connected":
                self._greeted(is_resumed=self._channel in frame.get("resumed", ()))
            case "reconnect" if not self._is_v1 and frame["data"]["reason"] == "connected":
                self._greeted(is_resumed=False)
            case "reconnect" if frame.get("project_id") in (None, uuid_of(self.place.project)):
                self._tally.counts[f"reset: {frame['data']['reason']}"] += 1
                self._reset()
            case "error":
                raise Refused(str(frame["code"]))
            case kind:
                self._tally.counts[f"frame: {kind}"] += 1
        self.cursors  # noqa: B018 the newest event's is older than this frame's
        self._cursors.update(frame.get("cursors", {}))

    @property
    def _channel(self) -> str:
        return f"project:{uuid_of(self.place.project)}"

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
    """It ignores its project's second change: the accounting must find that."""

    __slots__ = ()

    def hear(self, payload: bytes) -> None:
        if not payload.startswith(EVENT_HEAD) or read_row(payload)[2] != 1:
            super().hear(payload)

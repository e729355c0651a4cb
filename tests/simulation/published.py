"""All published events: the holder of a cursor must have received those up to it."""

from collections.abc import Iterator
from datetime import datetime, timedelta

import orjson

from shared.protocol.channels import Channel
from shared.protocol.replay import Cursor
from tests.simulation.database import BEGINNING
from tests.support.published_frames import cursor_of


class Published:
    """Everything ever published in one channel, with the commits that it stands for."""

    def __init__(self) -> None:
        self.number = 0
        self.of: dict[str, list[tuple[Cursor, bytes, int]]] = {}
        self.commits: dict[str, int] = {}  # the newest commit of a cursor's frame
        self.doomed: set[str] = set()  # epochs that an older Redis brought back

    def add(self, member: bytes, payload: bytes) -> None:
        cursor = cursor_of(payload)
        assert cursor is not None
        self.number += 1
        told = orjson.loads(payload)
        if told["type"] == "cache_invalidate":
            at = datetime.fromisoformat(told["data"]["timestamp"])
            self.commits[str(cursor)] = (at - BEGINNING) // timedelta(microseconds=1)
        self.of.setdefault(cursor.channel.name, []).append((cursor, member, self.number))

    def up_to(self, place: Cursor) -> list[tuple[bytes, int]]:
        """Return what a client at this cursor must know, except rows changed again above it."""
        if place.epoch in self.doomed:
            return []
        everything = [
            e for e in self.of.get(place.channel.name, ()) if e[0].epoch == place.epoch
        ]
        above = {member for cursor, member, _ in everything if cursor.offset > place.offset}
        if b"*" in above:
            return []
        return [
            (member, number)
            for cursor, member, number in everything
            if cursor.offset <= place.offset and member not in above
        ]

    def told_in(self, data: bytes) -> Iterator[tuple[Channel, int]]:
        """Return the channels and commits of a write's frames."""
        for opcode, payload in frames_of(data):
            cursor = cursor_of(payload) if opcode == 1 else None
            # `connected` has cursors too, but no events
            if cursor is None or orjson.loads(payload)["type"] != "cache_invalidate":
                continue
            yield cursor.channel, self.commits[str(cursor)]


def frames_of(data: bytes) -> list[tuple[int, bytes]]:
    """Split one write into frames (RFC 6455, section 5.2). A server's are not masked."""
    found = []
    while data:
        size, start = data[1], 2
        if size == 126:
            size, start = int.from_bytes(data[2:4], "big"), 4
        found.append((data[0] & 15, data[start : start + size]))
        data = data[start + size :]
    return found

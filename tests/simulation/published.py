"""What was ever published: who holds a cursor must have been told what is up to it."""

from collections.abc import Iterator
from datetime import datetime, timedelta

import orjson

from shared.protocol.channels import Channel
from shared.protocol.events import cursor_of
from shared.protocol.replay import Cursor
from tests.simulation.database import BEGINNING


class Published:
    """Everything that was ever published in one channel, and what it tells."""

    def __init__(self) -> None:
        self.number = 0
        self.of: dict[str, list[tuple[Cursor, bytes, int]]] = {}
        self.commits: dict[str, int] = {}  # the newest that a cursor's frame tells
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
        """What a client at that place must know, but for what changed again above it."""
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
        """The channels that a write's frames tell of, and the commits."""
        for opcode, payload in frames_of(data):
            cursor = cursor_of(payload) if opcode == 1 else None
            # `connected` names cursors too, and tells nothing
            if cursor is None or orjson.loads(payload)["type"] != "cache_invalidate":
                continue
            yield cursor.channel, self.commits[str(cursor)]


def frames_of(data: bytes) -> list[tuple[int, bytes]]:
    """The frames of one write (RFC 6455, section 5.2): a server's are not masked."""
    found = []
    while data:
        size, start = data[1], 2
        if size == 126:
            size, start = int.from_bytes(data[2:4], "big"), 4
        found.append((data[0] & 15, data[start : start + size]))
        data = data[start + size :]
    return found

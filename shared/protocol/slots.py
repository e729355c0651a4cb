"""Slots of Redis Cluster, and the leader's table of which server serves each of them.

In a cluster a cursor's generation is ``<generation>-<number>``: the number is that of the slot
in the table. The leader gives a slot another number whenever another server serves it than
before (a failover, a restart, a moved slot), because events may have been lost with the former
one: all cursors of the slot's channels are gaps then, and no others.
"""

from binascii import crc_hqx
from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Final, NamedTuple, TypeVar

import orjson

SLOT_COUNT: Final = 16384

Value = TypeVar("Value")


def slot_of(name: str) -> int:
    """The slot of a key or shard channel: that of its hash tag, if it has one."""
    _, _, rest = name.partition("{")
    tag, brace, _ = rest.partition("}")
    # Redis's CRC16 is that of XMODEM
    return crc_hqx((tag if brace and tag else name).encode(), 0) % SLOT_COUNT


class Node(NamedTuple):
    """A primary between two restarts or failovers, and where it is.

    ``identity`` is that of ``RedisServer``.
    """

    host: str
    port: int
    identity: str


class Serving(NamedTuple):
    """Which node serves a slot, and since which version of the table."""

    node: Node
    number: int


class SlotRange(NamedTuple):
    """Neighbouring slots, *first* to *last*, that are served alike."""

    first: int
    last: int
    serving: Serving


class SeenRange(NamedTuple):
    """Slots that an address serves according to the cluster.

    ``identity`` is None if no primary answers there.
    """

    first: int
    last: int
    host: str
    port: int
    identity: str | None


class Claim(NamedTuple):
    """That an address serves slots, in the view of some node. The highest epoch is right."""

    epoch: int
    first: int
    last: int
    host: str
    port: int


@dataclass(frozen=True)
class SlotTable:
    """Who serves each slot. A slot that nobody serves is in no range.

    What is published in its channels is lost: it gets another number when it is served again.
    """

    version: int = 0
    ranges: tuple[SlotRange, ...] = ()

    @cached_property
    def _firsts(self) -> list[int]:
        return [one.first for one in self.ranges]

    def of(self, slot: int) -> Serving | None:
        """Who serves the slot; None: nobody."""
        position = bisect_right(self._firsts, slot) - 1
        if position < 0 or slot > self.ranges[position].last:
            return None
        return self.ranges[position].serving

    @property
    def nodes(self) -> set[Node]:
        """The nodes that serve any slot."""
        return {one.serving.node for one in self.ranges}

    def without(self, slots: Collection[int], nodes: Collection[Node]) -> "SlotTable":
        """The next version of the table: nobody serves these slots, nor any of these nodes."""
        left: list[Serving | None] = [None] * SLOT_COUNT
        for first, last, serving in self.ranges:
            if serving.node not in nodes:
                for slot in range(first, last + 1):
                    left[slot] = None if slot in slots else serving
        return SlotTable(self.version + 1, _ranges(left))

    def to_json(self) -> str:
        nodes = sorted(self.nodes)
        index = {node: position for position, node in enumerate(nodes)}
        ranges = [
            [first, last, index[serving.node], serving.number]
            for first, last, serving in self.ranges
        ]
        return orjson.dumps(
            {"version": self.version, "nodes": [[*node] for node in nodes], "ranges": ranges}
        ).decode()


def parse_slot_table(text: str) -> SlotTable:
    """The table that ``SlotTable.to_json`` wrote; one without ranges if it is none."""
    try:
        fields = orjson.loads(text)
        nodes = [Node(str(host), int(port), str(name)) for host, port, name in fields["nodes"]]
        ranges = [
            SlotRange(int(first), int(last), Serving(nodes[index], int(number)))
            for first, last, index, number in fields["ranges"]
        ]
        return SlotTable(int(fields["version"]), tuple(ranges))
    except (orjson.JSONDecodeError, LookupError, TypeError, ValueError):
        return SlotTable()


def merge_claims(claims: Iterable[Claim]) -> list[tuple[int, int, str, int]]:
    """Return which address serves which slots, given the views of several nodes.

    A node that was cut off keeps an old view. The nodes themselves decide between two primaries
    in the same way (Redis Cluster specification, "Hash slots configuration propagation").
    """
    owners: list[tuple[str, int] | None] = [None] * SLOT_COUNT
    for _, first, last, host, port in sorted(claims):
        owners[first : last + 1] = [(host, port)] * (last + 1 - first)
    return [(first, last, *owner) for first, last, owner in _runs(owners)]


def ranges_by_address(seen: Iterable[SeenRange]) -> dict[tuple[str, int], list[SeenRange]]:
    """Return what each address serves."""
    found: dict[tuple[str, int], list[SeenRange]] = {}
    for one in seen:
        found.setdefault((one.host, one.port), []).append(one)
    return found


def count_slots(ranges: Iterable[SeenRange]) -> int:
    """Return how many slots the ranges have."""
    return sum(one.last - one.first + 1 for one in ranges)


def plan_slots(table: SlotTable, seen: Iterable[SeenRange]) -> SlotTable:
    """The table after what was *seen* of the cluster; the same one if nothing changed.

    A slot keeps its number while the same server serves it. While its server does not answer,
    it is taken for the same one: what cannot be published there is noticed then.
    """
    number = table.version + 1
    found: list[Serving | None] = [None] * SLOT_COUNT
    for first, last, host, port, identity in seen:
        for slot in range(first, last + 1):
            former = table.of(slot)
            same = former and Node(host, port, identity or former.node.identity)
            if former is not None and former.node == same:
                found[slot] = former
            elif identity is not None:
                found[slot] = Serving(Node(host, port, identity), number)
    ranges = _ranges(found)
    return table if ranges == table.ranges else SlotTable(number, ranges)


def _ranges(servings: Iterable[Serving | None]) -> tuple[SlotRange, ...]:
    return tuple(SlotRange(*run) for run in _runs(servings))


def _runs(values: Iterable[Value | None]) -> Iterator[tuple[int, int, Value]]:
    """Return the runs of equal values, except None, each with its first and last index."""
    first = 0
    for value, group in groupby(values):
        end = first + sum(1 for _ in group)
        if value is not None:
            yield first, end - 1, value
        first = end

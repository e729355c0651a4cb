"""Traces sampled events from the log row to Redis."""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from listener.leader.leader_state import Batch
from shared.protocol.channels import Channel
from shared.protocol.control_messages import Recheck
from shared.protocol.events import RECONNECT_MEMBER, Publishable, changed_at
from shared.protocol.trace_ids import TraceIds, published_cursors

if TYPE_CHECKING:
    from shared.runtime.spans import Spans


class _Read(NamedTuple):
    """A read of the log, by ``time.perf_counter``: the database's time less ``offset``."""

    began: float
    ended: float
    offset: float
    attributes: dict[str, int]


class _Published(NamedTuple):
    trace: TraceIds
    channel: Channel
    event: Publishable


class LeaderTracing:
    """Records the traces of sampled events, one for each channel that an event is published in.

    All times are the database's. The names of *resources* are recorded, any other is foreign.
    """

    def __init__(self, spans: "Spans", resources: frozenset[str]) -> None:
        self._spans = spans
        self._resources = resources
        self._read: _Read | None = None
        self._published: list[_Published] = []

    def note_read(self, batch: Batch, number: int, *, began: float) -> None:
        """Note a batch that was read just now, from *began* on by ``time.perf_counter``."""
        self._read = None
        if batch.read_at is not None:
            offset = batch.read_at.timestamp() - began
            attributes = {
                "neverstale.batch": number,
                "neverstale.batch_rows": len(batch.rows),
            }
            self._read = _Read(began, time.perf_counter(), offset, attributes)

    @contextmanager
    def publishing(self) -> Iterator[None]:
        """Trace what the body publishes of the batch, even if it fails halfway."""
        began = time.perf_counter()
        try:
            yield
        finally:
            published, self._published = self._published, []
            if self._read is not None:
                ended = time.perf_counter()
                for one in published:
                    self._record(one, self._read, began, ended)

    def note_published(
        self,
        steps: Iterable[Recheck | tuple[Channel, Sequence[Publishable]]],
        answers: Iterable[Any],
    ) -> None:
        """Sample the events of one pipeline, given Redis's answers."""
        for step, answer in zip(steps, answers, strict=True):
            if isinstance(step, Recheck) or isinstance(answer, Exception):
                continue
            channel, events = step
            epoch, last = answer
            cursors = published_cursors(channel, epoch, int(last), len(events))
            for event, cursor in zip(events, cursors, strict=True):
                trace = self._spans.sample(cursor)
                if trace is not None:
                    self._published.append(_Published(trace, channel, event))

    def _record(self, published: _Published, read: _Read, began: float, ended: float) -> None:
        trace, channel, event = published
        read_began, read_ended, offset, of_batch = read
        begun, done = offset + read_began, offset + ended
        # A reset has no time. The database's clock may have been set back.
        changed = min(changed_at(event.head) or begun, begun)
        attributes = {"neverstale.channel_kind": channel.kind, **self._described(event)}
        self._spans.record_root(trace, "change", changed, done, {**attributes, **of_batch})
        self._spans.record_child(trace, "read change log", begun, offset + read_ended, of_batch)
        self._spans.record_child(trace, "publish", offset + began, done, of_batch)

    def _described(self, event: Publishable) -> dict[str, str]:
        if event.member == RECONNECT_MEMBER:
            return {"neverstale.action": "RESET"}
        resource, _, action, *_ = orjson.loads(event.member)
        known = resource if resource in self._resources else "other"
        return {"neverstale.resource": known, "neverstale.action": action}

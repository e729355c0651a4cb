"""Traces sampled events from a gateway's Redis connection to its clients."""

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from gateway.delivery.database_clock import DatabaseClock
from gateway.delivery.effects import Effect, WriteFrames
from gateway.transport.connection import Connection
from shared.protocol.channels import Channel
from shared.protocol.events import cursor_text

if TYPE_CHECKING:
    from shared.runtime.spans import Spans


class DeliveryTracing:
    """Records a span for each sampled event that this process sends, below the leader's.

    Times are the database's: nothing is recorded before a tick has told it. Of several events
    of one row that are sent together clients get the newest alone, but all count as sent.
    """

    def __init__(self, spans: "Spans", clock: DatabaseClock) -> None:
        self._spans = spans
        self._clock = clock
        self._received_at = 0.0

    def receive(self) -> None:
        """Note that messages arrived just now, which ``record_live`` is called for."""
        self._received_at = time.perf_counter()

    def record_live(self, sent: Iterable[tuple[Channel, Sequence[bytes], int]]) -> None:
        """Record the frames that were written just now, each with its number of subscribers."""
        ended = time.perf_counter()
        for channel, payloads, subscribers in sent:
            for payload in payloads:
                self._record(
                    channel, payload, self._received_at, ended, subscribers, is_replay=False
                )

    def record_replay(self, effects: Iterable[Effect[Connection]], began: float) -> None:
        """Record the frames of a catch-up batch that *began* then, and was written just now."""
        ended = time.perf_counter()
        counts: defaultdict[Channel, Counter[bytes]] = defaultdict(Counter)
        for effect in effects:
            if isinstance(effect, WriteFrames):
                counts[effect.channel].update(effect.payloads)
        for channel, subscribers in counts.items():
            for payload, count in subscribers.items():
                self._record(channel, payload, began, ended, count, is_replay=True)

    def _record(
        self,
        channel: Channel,
        payload: bytes,
        began: float,
        ended: float,
        subscribers: int,
        *,
        is_replay: bool,
    ) -> None:
        began_at, ended_at = self._clock.read(began), self._clock.read(ended)
        if began_at is None or ended_at is None:
            return
        trace = self._spans.sample(cursor_text(payload))
        if trace is not None:
            attributes = {
                "neverstale.channel_kind": channel.kind,
                "neverstale.subscribers": subscribers,
                "neverstale.replayed": is_replay,
            }
            self._spans.record_child(
                trace, "send", began_at, ended_at, attributes, is_remote=True
            )

"""What a gateway records of the frames that it sends."""

from collections.abc import Mapping
from typing import Any

import pytest

from gateway.delivery.database_clock import DatabaseClock
from gateway.delivery.effects import Effect, SubscribeChannel, WriteFrames
from gateway.delivery.tracing import DeliveryTracing
from shared.protocol.channels import Channel
from shared.protocol.trace_ids import TraceIds, sampled_trace, sampling_bound

P, U = Channel("project", "p"), Channel("user", "u")
ALL = sampling_bound(1)


def frame(cursor: str) -> bytes:
    return b'{"cursor":"' + cursor.encode() + b'"}'


class Recorder:
    """Samples the cursors that it is made with, and keeps what is recorded."""

    def __init__(self, *sampled: bytes) -> None:
        self.sampled = sampled
        self.spans: list[tuple[TraceIds, str, float, float, Mapping[str, Any]]] = []

    def sample(self, cursor: bytes) -> TraceIds | None:
        return sampled_trace(cursor, ALL) if cursor in self.sampled else None

    def record_child(
        self,
        trace: TraceIds,
        name: str,
        began: float,
        ended: float,
        attributes: Mapping[str, Any],
        *,
        is_remote: bool,
    ) -> None:
        assert is_remote
        self.spans.append((trace, name, began, ended, attributes))


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([10.0, 11.0])
    monkeypatch.setattr("gateway.delivery.tracing.time.perf_counter", lambda: next(times))


def made(recorder: Recorder, *, ticks: bool = True) -> DeliveryTracing:
    clock = DatabaseClock()
    if ticks:
        clock.record(1_000_000_000, 0.0)
    given: Any = recorder
    return DeliveryTracing(given, clock)


def test_live_frames_are_recorded_by_the_databases_clock() -> None:
    recorder = Recorder(b"c.2", b"c.3")
    tracing = made(recorder)
    tracing.receive()
    tracing.record_live([(P, [frame("c.1"), frame("c.2")], 5), (U, [frame("c.3")], 1)])
    assert recorder.spans == [
        (
            sampled_trace(cursor, ALL),
            "send",
            1010.0,
            1011.0,
            {
                "neverstale.channel_kind": kind,
                "neverstale.subscribers": subscribers,
                "neverstale.replayed": False,
            },
        )
        for cursor, kind, subscribers in ((b"c.2", "project", 5), (b"c.3", "user", 1))
    ]


def test_a_replay_to_several_subscribers_is_one_span_for_each_frame() -> None:
    recorder = Recorder(b"c.1", b"c.2")
    effects: list[Effect[Any]] = [
        SubscribeChannel(U),
        WriteFrames("one", P, [frame("c.1"), frame("c.2")]),
        WriteFrames("two", P, [frame("c.2")]),
    ]
    made(recorder).record_replay(effects, 4.0)
    assert [
        (trace, began, ended, attributes["neverstale.subscribers"])
        for trace, _, began, ended, attributes in recorder.spans
    ] == [
        (sampled_trace(b"c.1", ALL), 1004.0, 1010.0, 1),
        (sampled_trace(b"c.2", ALL), 1004.0, 1010.0, 2),
    ]
    assert all(span[4]["neverstale.replayed"] for span in recorder.spans)


def test_nothing_is_recorded_before_a_tick_has_told_the_time() -> None:
    recorder = Recorder(b"c.1")
    tracing = made(recorder, ticks=False)
    tracing.receive()
    tracing.record_live([(P, [frame("c.1")], 5)])
    assert recorder.spans == []

"""What the leader records of a batch."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from listener.leader.leader_state import Batch, SnapshotCursor
from listener.leader.tracing import LeaderTracing
from shared.protocol.channels import Channel
from shared.protocol.control_messages import Recheck
from shared.protocol.events import Event, publishable_event, publishable_reconnect
from shared.protocol.trace_ids import TraceIds, sampled_trace, sampling_bound

P = Channel("project", "p")
READ_AT = datetime(2026, 11, 24, 12, 0, 10, tzinfo=UTC)
CHANGED_AT = datetime(2026, 11, 24, 12, 0, 9, 500_000, tzinfo=UTC)
NOW = READ_AT.timestamp()


class Recorder:
    """Samples every event, and keeps what is recorded."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, TraceIds, float, float, Mapping[str, Any]]] = []

    def sample(self, cursor: bytes) -> TraceIds | None:
        return sampled_trace(cursor, sampling_bound(1))

    def record_root(self, trace: TraceIds, name: str, *rest: Any) -> None:
        self.spans.append((name, trace, *rest))

    record_child = record_root


def batch(read_at: datetime | None = READ_AT) -> Batch:
    return Batch(
        SnapshotCursor("i", "1:"), cursor_ahead=False, rows=[], oldest_age=0, read_at=read_at
    )


def event(row: str = "1", resource: str = "task", at: datetime = CHANGED_AT) -> Any:
    return publishable_event(Event(resource, row, "UPDATE", "p", at), P)


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def tracing(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> LeaderTracing:
    clock = iter([101.0, 103.0, 104.0] * 2)  # read, planned, published
    monkeypatch.setattr("listener.leader.tracing.time.perf_counter", lambda: next(clock))
    given: Any = recorder
    return LeaderTracing(given, frozenset({"task"}))


def test_a_trace_leads_from_the_row_to_the_publication(
    tracing: LeaderTracing, recorder: Recorder
) -> None:
    tracing.note_read(batch(), 7, began=100.0)
    with tracing.publishing():
        tracing.note_published([(P, [event()])], [[b"g.e", b"5"]])
    trace = sampled_trace(f"{P.token}.g.e.5".encode(), sampling_bound(1))
    of_batch = {"neverstale.batch": 7, "neverstale.batch_rows": 0}
    of_event = {
        "neverstale.channel_kind": "project",
        "neverstale.resource": "task",
        "neverstale.action": "UPDATE",
    }
    assert recorder.spans == [
        ("change", trace, NOW - 0.5, NOW + 4, of_event | of_batch),
        ("read change log", trace, NOW, NOW + 1, of_batch),
        ("publish", trace, NOW + 3, NOW + 4, of_batch),
    ]


def test_events_of_one_call_have_consecutive_cursors_and_refused_ones_none(
    tracing: LeaderTracing, recorder: Recorder
) -> None:
    other = Channel("project", "q")
    tracing.note_read(batch(), 1, began=100.0)
    with tracing.publishing():
        tracing.note_published(
            [Recheck("p", None), (other, [event()]), (P, [event("1"), event("2")])],
            [3, ValueError("refused"), [b"g.e", b"6"]],
        )
    assert [trace for name, trace, *_ in recorder.spans if name == "change"] == [
        sampled_trace(f"{P.token}.g.e.{offset}".encode(), sampling_bound(1))
        for offset in (5, 6)
    ]


@pytest.mark.parametrize(
    ("published", "began", "described"),
    [
        (publishable_reconnect("truncate", P), NOW, {"neverstale.action": "RESET"}),
        (
            event(at=datetime(2027, 1, 1, tzinfo=UTC)),
            NOW,
            {"neverstale.action": "UPDATE", "neverstale.resource": "task"},
        ),
        (
            event(resource="of another producer"),
            CHANGED_AT.timestamp(),
            {"neverstale.action": "UPDATE", "neverstale.resource": "other"},
        ),
    ],
    ids=["reset", "from-the-future", "unknown-resource"],
)
def test_what_is_foreign_or_has_no_time_is_replaced(
    tracing: LeaderTracing,
    recorder: Recorder,
    published: Any,
    began: float,
    described: dict[str, str],
) -> None:
    tracing.note_read(batch(), 1, began=100.0)
    with tracing.publishing():
        tracing.note_published([(P, [published])], [[b"g.e", b"5"]])
    _, _, start, _, attributes = recorder.spans[0]
    assert start == began
    assert described.items() <= attributes.items()
    assert ("neverstale.resource" in attributes) == ("neverstale.resource" in described)


def test_what_was_published_before_a_failure_is_recorded_once(
    tracing: LeaderTracing, recorder: Recorder
) -> None:
    def fail() -> None:
        tracing.note_read(batch(), 1, began=100.0)
        with tracing.publishing():
            tracing.note_published([(P, [event()])], [[b"g.e", b"5"]])
            raise ConnectionError

    with pytest.raises(ConnectionError):
        fail()
    assert len(recorder.spans) == 3
    tracing.note_read(batch(), 1, began=100.0)
    with tracing.publishing():
        pass
    assert len(recorder.spans) == 3


def test_nothing_is_recorded_without_the_databases_time(
    tracing: LeaderTracing, recorder: Recorder
) -> None:
    tracing.note_read(batch(read_at=None), 1, began=100.0)
    with tracing.publishing():
        tracing.note_published([(P, [event()])], [[b"g.e", b"5"]])
    assert recorder.spans == []

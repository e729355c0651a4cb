"""How tracing starts and ends."""

import subprocess
import sys
from threading import Event
from typing import Any

import pytest

from shared.runtime import spans as spans_module
from shared.runtime import tracing
from shared.runtime.lifecycle import FatalError
from shared.runtime.spans import MAX_TRACES_PER_SECOND, Spans
from shared.runtime.tracing import open_tracing

UNREACHABLE = "http://127.0.0.1:9"


def test_neither_recorder_nor_exporter_is_imported_while_it_is_off() -> None:
    code = (
        "import sys, listener.__main__, gateway.__main__\n"
        "from shared.runtime.tracing import open_tracing\n"
        "with open_tracing('x', None) as spans: assert spans is None\n"
        "assert not {'shared.runtime.spans', 'opentelemetry.exporter'} & {*sys.modules}"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_BSP_MAX_QUEUE_SIZE", "-1"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization: Bearer s3cret"),
    ],
)
def test_a_wrong_variable_ends_the_start(
    name: str,
    value: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(FatalError, match="OTEL_") as refused, open_tracing("x", 1.0):
        pass
    assert "s3cret" not in str(refused.value) + caplog.text


def test_the_end_does_not_wait_long_for_the_receiver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "FLUSH_SECONDS", 0.01)
    ended: list[bool] = []

    class Hanging:
        def __init__(self, *_: Any) -> None:
            pass

        def shutdown(self) -> None:
            release.wait()
            ended.append(True)

    release = Event()
    monkeypatch.setattr(spans_module, "Spans", Hanging)
    with open_tracing("x", 1.0):
        pass
    assert not ended
    release.set()


def test_traces_are_bounded_in_number_and_the_rest_is_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", UNREACHABLE)
    now = 5.0
    monkeypatch.setattr("shared.runtime.spans.time.monotonic", lambda: now)
    spans = Spans("x", 1.0)
    cursors = [b"%d" % number for number in range(2 * MAX_TRACES_PER_SECOND)]
    assert sum(spans.sample(cursor) is not None for cursor in cursors) == MAX_TRACES_PER_SECOND
    now += 1.0
    assert spans.sample(b"next") is not None
    spans.shutdown()

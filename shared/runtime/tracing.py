"""Switches tracing on. While it is off, neither our recording code nor the SDK is imported."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import TYPE_CHECKING, Final, Optional

from shared.runtime.lifecycle import FatalError

if TYPE_CHECKING:
    from shared.runtime.spans import Spans

FLUSH_SECONDS: Final = 2.0


@contextmanager
def open_tracing(service_name: str, ratio: float | None) -> Iterator[Optional["Spans"]]:
    """Yield what records spans, for a share of all events; None (as *ratio*): tracing is off.

    At the end, what is left is exported for at most ``FLUSH_SECONDS``.

    Raises:
        FatalError: a variable of OpenTelemetry is invalid.
    """
    if ratio is None:
        yield None
        return
    from shared.runtime.spans import Spans

    try:
        spans = Spans(service_name, ratio)
    except ValueError as exc:
        raise FatalError(f"tracing cannot start, check the OTEL_ variables: {exc}") from exc
    try:
        yield spans
    finally:
        flush = Thread(target=spans.shutdown, name="flush of traces", daemon=True)
        flush.start()
        flush.join(FLUSH_SECONDS)

from dataclasses import replace

import pytest

from listener.leader.completeness import (
    CaptureState,
    apply_capture,
    decide_liveness,
    needs_barrier,
)
from listener.leader.leader_state import (
    Batch,
    LeaderState,
    SnapshotCursor,
)
from listener.leader.publication import Reset

CURSOR = SnapshotCursor("1.2.3.4.incarnation", "10:20:11,12")
HERE = LeaderState("g", CURSOR, "run.repl", "gap")


def batch(cursor: SnapshotCursor = CURSOR) -> Batch:
    return Batch(cursor, cursor_ahead=False, rows=(), oldest_age=0.0)


def liveness(
    state: LeaderState, *, skipping: bool, noted: bool = False, oldest: int = 5
) -> LeaderState | Reset:
    read = Batch(
        CURSOR,
        cursor_ahead=False,
        rows=(),
        oldest_age=0.0,
        is_skipping=skipping,
        has_skipped=noted,
        oldest_xid=oldest,
    )
    judged = decide_liveness(state, read)
    if isinstance(judged, LeaderState) and needs_barrier(judged, read):
        return replace(judged, barrier=9)
    return judged


def test_skipped_changes_are_reset_once_every_transaction_that_may_have_skipped_has_ended() -> (
    None
):
    assert liveness(HERE, skipping=False) == HERE
    full = liveness(HERE, skipping=True)
    assert full == replace(HERE, live=False)
    assert isinstance(full, LeaderState)
    assert liveness(full, skipping=True) == full
    waiting = liveness(full, skipping=False)
    assert waiting == replace(full, barrier=9)
    assert isinstance(waiting, LeaderState)
    assert liveness(waiting, skipping=False, oldest=8) == waiting
    assert liveness(waiting, skipping=True) == full, (
        "a barrier is void once more changes are skipped"
    )
    assert liveness(waiting, skipping=False, oldest=9) == Reset("log_full")


def test_a_skip_that_was_noted_in_the_database_survives_the_state_in_redis() -> None:
    fresh = liveness(HERE, skipping=False, noted=True)
    assert fresh == replace(HERE, live=False, barrier=9)
    assert isinstance(fresh, LeaderState)
    assert liveness(fresh, skipping=False, noted=True, oldest=9) == Reset("log_full")


@pytest.mark.parametrize(
    ("capture", "lacks_members", "expected"),
    [
        (CaptureState("f"), False, (False, False)),
        (CaptureState("f", is_new=True), False, (False, False)),
        (CaptureState("f", ("notes",)), False, (True, False)),
        (CaptureState("g", ("notes",)), False, (True, True)),
        (CaptureState("g", is_new=True), False, (True, True)),
        (CaptureState("g"), False, (False, True)),
        (CaptureState("f"), True, (True, False)),
    ],
    ids=[
        "whole",
        "first check",
        "differs",
        "changed, differs",
        "changed",
        "settled",
        "members",
    ],
)
def test_changed_triggers_count_as_a_skipped_log(
    capture: CaptureState, *, lacks_members: bool, expected: tuple[bool, bool]
) -> None:
    state = replace(HERE, capture="f")
    read = apply_capture(batch(), state, capture, lacks_members=lacks_members)
    assert (read.is_skipping, read.has_skipped) == expected
    installed = batch(cursor=SnapshotCursor("another", "10:20:"))
    assert apply_capture(installed, state, capture, lacks_members=True) == installed

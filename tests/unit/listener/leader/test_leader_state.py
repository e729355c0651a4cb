from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest

from listener.leader.leader_state import (
    MAX_AGES,
    MAX_ROWS_PER_READ,
    Batch,
    LeaderState,
    SnapshotCursor,
    change_ages,
    decide_adoption,
    decide_batch,
    parse_snapshot_cursor,
)
from listener.leader.log_row import LogRow
from listener.leader.publication import Reset
from shared.protocol.events import Reason

CURSOR = SnapshotCursor("1.2.3.4.incarnation", "10:20:11,12")
STATE = {
    "generation": "g",
    "cursor": CURSOR.to_json(),
    "redis": "run.repl",
    "reason": "truncate",
    "live": "1",
}
ROW = LogRow("a", None, "task", "1", "UPDATE", datetime(2026, 11, 24, 10, 0, tzinfo=UTC))


def batch(*rows: LogRow, cursor: SnapshotCursor = CURSOR, ahead: bool = False) -> Batch:
    return Batch(cursor, cursor_ahead=ahead, rows=rows, oldest_age=0.0)


def test_a_leader_resumes_from_the_stored_state() -> None:
    assert decide_adoption(
        STATE, redis_identity="run.repl", raw_notify_lost=False
    ) == LeaderState("g", CURSOR, "run.repl", "truncate")
    assert CURSOR.incarnation == "incarnation"


@pytest.mark.parametrize(
    ("state", "identity", "lost", "reason"),
    [
        ({}, "run.repl", False, "gap"),
        ({**STATE, "generation": ""}, "run.repl", False, "gap"),
        ({**STATE, "cursor": "no json"}, "run.repl", False, "gap"),
        ({**STATE, "cursor": "[]"}, "run.repl", False, "gap"),
        (STATE, "another.repl", False, "gap"),
        (STATE, "run.repl", True, "notify_reconnect"),
    ],
    ids=["none", "no generation", "no cursor", "bad cursor", "older Redis", "raw lost"],
)
def test_a_leader_resets_when_completeness_is_not_provable(
    state: dict[str, str], identity: str, lost: bool, reason: str
) -> None:
    decided = decide_adoption(state, redis_identity=identity, raw_notify_lost=lost)
    assert isinstance(decided, Reset)
    assert decided.reason == reason


def test_a_leader_keeps_the_state_that_a_failover_has_set_back() -> None:
    own = LeaderState("g", SnapshotCursor("i", "9:9:"), "old.repl", "gap", barrier=3)

    def decide(state: dict[str, str], *, lost: bool = False) -> LeaderState | Reset:
        return decide_adoption(state, redis_identity="new.repl", raw_notify_lost=lost, own=own)

    assert decide(STATE) == replace(own, redis="new.repl")
    assert decide({**STATE, "generation": "other"}) == Reset("gap")
    assert decide({}) == Reset("gap")
    assert decide(STATE, lost=True) == Reset("gap")


def test_a_snapshot_cursor_is_read_back() -> None:
    assert parse_snapshot_cursor(CURSOR.to_json()) == CURSOR


def test_a_successor_of_a_leader_that_was_not_live_is_not_live() -> None:
    state = {**STATE, "live": "0"}
    adopted = decide_adoption(state, redis_identity="run.repl", raw_notify_lost=False)
    assert adopted == LeaderState("g", CURSOR, "run.repl", "truncate", live=False)
    reset = decide_adoption(state, redis_identity="another", raw_notify_lost=False)
    assert reset == Reset("gap", live=False)


def test_a_read_of_the_same_log_is_published_row_by_row() -> None:
    assert decide_batch(CURSOR, batch(*[ROW] * MAX_ROWS_PER_READ)) is None


@pytest.mark.parametrize(
    ("read", "reason"),
    [
        (batch(ROW, cursor=SnapshotCursor("another", "10:20:")), "log_lost"),
        (batch(ROW, ahead=True), "log_lost"),
        (batch(*[ROW] * (MAX_ROWS_PER_READ + 1)), "bulk_change"),
    ],
    ids=["another log", "cursor ahead", "too many"],
)
def test_a_read_that_may_be_incomplete_is_a_reset(read: Batch, reason: str) -> None:
    assert decide_batch(CURSOR, read) == Reset(cast(Reason, reason))


def test_a_cursor_names_its_database_across_restarts_and_logs() -> None:
    assert SnapshotCursor("7.16384.99.1.5.uuid", "1:1:").database == "7.16384"


def test_of_a_large_batch_a_sample_of_ages_stands_for_all() -> None:
    at = datetime(2026, 11, 24, tzinfo=UTC)
    rows = [LogRow("p", None, "task", "1", "UPDATE", at)] * (2 * MAX_AGES)
    batch = Batch(
        SnapshotCursor("i", "0:"),
        cursor_ahead=False,
        rows=rows,
        oldest_age=7.0,
        read_at=at + timedelta(seconds=7),
    )
    ages = list(change_ages(batch))
    assert len(ages) <= MAX_AGES
    assert ages[0] == (7.0, 3)
    assert abs(sum(count for _, count in ages) - len(rows)) < 3
    assert list(change_ages(replace(batch, read_at=None))) == []
    assert list(change_ages(replace(batch, rows=[replace(rows[0], at=None)]))) == []

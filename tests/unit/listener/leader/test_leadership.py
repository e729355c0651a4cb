import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from listener.leader.completeness import (
    CaptureState,
    decide_liveness,
    needs_barrier,
    weigh_capture,
)
from listener.leader.leader_state import (
    MAX_ROWS_PER_READ,
    Batch,
    LeaderState,
    SnapshotCursor,
    decide_adoption,
    decide_batch,
    parse_snapshot_cursor,
)
from listener.leader.log_row import LogRow
from listener.leader.publication import Reset
from listener.leader.raw_notify import Malformed, parse_notification
from listener.leader.read_schedule import ReadSchedule, WakeUpHolder, WakeUpWatch, rest_after
from listener.leader.reset_throttle import ResetThrottle
from listener.leader.takeover import LeaderWatch, OwnerWatch
from shared.config.access_rules import AccessRules
from shared.protocol.events import Reason

AT = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)
RULES = AccessRules("text", "text", "", "")


def row() -> LogRow:
    return LogRow("a", None, "task", "1", "UPDATE", AT)


PAYLOAD: dict[str, Any] = {"resource": "task", "id": "1", "action": "UPDATE", "project_id": "a"}


def notification(**changes: Any) -> LogRow | Malformed:
    merged = {**PAYLOAD, **changes}
    return parse_notification(
        json.dumps({key: value for key, value in merged.items() if value != "-"}), RULES
    )


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, LogRow("a", None, "task", "1", "UPDATE", None)),
        ({"project_id": "-", "projectId": "b"}, LogRow("b", None, "task", "1", "UPDATE", None)),
        ({"id": "-"}, LogRow("a", None, "task", None, "UPDATE", None)),
        ({"id": "x" * 513}, LogRow("a", None, "task", None, "UPDATE", None)),
        ({"id": 7, "action": "delete"}, LogRow("a", None, "task", "7", "DELETE", None)),
        ({"user_id": "u"}, LogRow("a", "u", "task", "1", "UPDATE", None)),
        (
            {"timestamp": "2026-11-24T10:00:00Z"},
            LogRow("a", None, "task", "1", "UPDATE", AT),
        ),
        ({"timestamp": "2026-11-24T10:00:00"}, LogRow("a", None, "task", "1", "UPDATE", AT)),
    ],
)
def test_a_raw_notification_is_a_row(changes: dict[str, Any], expected: LogRow) -> None:
    assert notification(**changes) == expected


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"project_id": "-"}, "project_id is missing"),
        ({"resource": "-"}, "resource is missing"),
        ({"resource": ""}, "resource must be text"),
        ({"resource": "ä" * 129}, "resource must have at most 256 bytes"),
        ({"project_id": "x" * 513}, "project_id must have 1 to 512 bytes"),
        ({"action": "-"}, "action is missing"),
        ({"action": "TRUNCATE"}, "action must be one of INSERT, UPDATE, DELETE"),
        ({"project_id": True}, "project_id must be text"),
        ({"project_id": "a\n"}, "project_id must be text without control characters"),
        ({"timestamp": "yesterday"}, "timestamp must be ISO 8601"),
        ({"timestamp": 7}, "timestamp must be ISO 8601"),
        ({"timestamp": "0001-01-01T00:00:00+14:00"}, "timestamp must be ISO 8601"),
        ({"id": "a\0b"}, "id has a NUL, which PostgreSQL takes in no text"),
    ],
)
def test_a_malformed_notification_says_why(changes: dict[str, Any], reason: str) -> None:
    assert notification(**changes) == Malformed(reason)


@pytest.mark.parametrize("payload", ["", "x", "[]", "7"])
def test_a_payload_that_is_no_object_is_malformed(payload: str) -> None:
    assert isinstance(parse_notification(payload, RULES), Malformed)


CURSOR = SnapshotCursor("1.2.3.4.incarnation", "10:20:11,12")
STATE = {
    "generation": "g",
    "cursor": CURSOR.to_json(),
    "redis": "run.repl",
    "reason": "truncate",
    "live": "1",
}


def test_a_leader_goes_on_from_the_stored_place() -> None:
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
def test_a_leader_that_can_prove_nothing_resets(
    state: dict[str, str], identity: str, lost: bool, reason: str
) -> None:
    decided = decide_adoption(state, redis_identity=identity, raw_notify_lost=lost)
    assert isinstance(decided, Reset)
    assert decided.reason == reason


def test_a_log_cursor_is_read_back() -> None:
    assert parse_snapshot_cursor(CURSOR.to_json()) == CURSOR


def batch(*rows: LogRow, cursor: SnapshotCursor = CURSOR, ahead: bool = False) -> Batch:
    return Batch(cursor, cursor_ahead=ahead, rows=rows, oldest_age=0.0)


def test_a_read_of_the_same_log_is_told_row_by_row() -> None:
    assert decide_batch(CURSOR, batch(*[row()] * MAX_ROWS_PER_READ)) is None


@pytest.mark.parametrize(
    ("read", "reason"),
    [
        (batch(row(), cursor=SnapshotCursor("another", "10:20:")), "log_lost"),
        (batch(row(), ahead=True), "log_lost"),
        (batch(*[row()] * (MAX_ROWS_PER_READ + 1)), "bulk_change"),
    ],
    ids=["another log", "cursor ahead", "too many"],
)
def test_a_read_that_proves_nothing_is_a_reset(read: Batch, reason: str) -> None:
    assert decide_batch(CURSOR, read) == Reset(cast(Reason, reason))


def test_reads_follow_a_wake_up_ever_slower_and_start_anew_with_each_find() -> None:
    schedule = ReadSchedule()
    assert schedule.next_wait(found=False) == 0.25
    schedule.woken()
    waits = [schedule.next_wait(found=False) for _ in range(9)]
    assert waits == [0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.25, 0.25]
    assert schedule.next_wait(found=True) == 0.002
    assert schedule.next_wait(found=False) == 0.004


def test_a_leader_that_nobody_can_wake_reads_every_10_ms() -> None:
    schedule = ReadSchedule(is_unwoken=True)
    assert [schedule.next_wait(found=False) for _ in range(2)] == [0.01, 0.01]
    schedule.woken()
    assert [schedule.next_wait(found=False) for _ in range(4)] == [0.002, 0.004, 0.008, 0.01]


def test_rows_that_no_wake_up_announced_are_looked_for_every_10_ms_for_5_seconds() -> None:
    schedule = ReadSchedule()
    assert schedule.next_wait(found=False) == 0.25
    waits = [schedule.next_wait(found=number in (0, 50)) for number in range(600)]
    assert max(waits[:549]) == 0.01
    assert waits[549:] == [0.25] * 51
    schedule.next_wait(found=True)
    schedule.woken()
    assert [schedule.next_wait(found=False) for _ in range(8)][-1] == 0.25


def test_who_has_the_wake_up_lock_at_two_looks_keeps_it_and_is_named_once() -> None:
    writer, keeper = WakeUpHolder(1, "app", "9:00"), WakeUpHolder(2, "stranger", "8:00")
    watch = WakeUpWatch()
    assert watch.look(frozenset({writer, keeper})) == set()
    assert watch.look(frozenset({keeper})) == {keeper}
    assert watch.look(frozenset({keeper, writer})) == set()
    assert watch.keeping == {keeper}
    # a process id that was given to another session
    assert watch.look(frozenset({WakeUpHolder(2, "app", "9:01")})) == set()
    assert watch.keeping == set()


def test_a_busy_log_is_left_alone_for_a_moment_and_never_for_long() -> None:
    assert rest_after(0) == 0.0
    assert rest_after(4) == 0.001
    assert rest_after(40) == rest_after(MAX_ROWS_PER_READ) == 0.01


def test_wake_ups_in_vain_have_to_wait_until_something_is_found_or_none_comes() -> None:
    def rest(rows: int = 0, *, woken: bool = True) -> float:
        if woken:
            schedule.woken()
        return schedule.rest(rows)

    schedule = ReadSchedule()
    assert [rest() for _ in range(20)] == [0.0] * 20
    assert [rest(), rest(), rest(1)] == [0.01, 0.01, 0.00025]
    assert [rest() for _ in range(21)][-2:] == [0.0, 0.01]
    assert [rest(woken=False), rest()] == [0.0, 0.0]


def test_a_cause_that_persists_resets_ever_more_rarely() -> None:
    pace, at = ResetThrottle(), 100.0
    times: list[float] = []
    while len(times) < 8:
        if pace.is_due(at):
            pace.note(at)
            times.append(at - 100)
        at += 0.5
    assert times == [0, 1, 3, 7, 15, 31, 61, 91]
    assert not pace.is_due(times[-1] + 100 + 29)
    pace.note(at + 62)
    assert pace.is_due(at + 63), "it had ended: the next is the first again"


HERE = LeaderState("g", CURSOR, "run.repl", "gap")


def liveness(
    place: LeaderState, *, skipping: bool, noted: bool = False, oldest: int = 5
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
    judged = decide_liveness(place, read)
    if isinstance(judged, LeaderState) and needs_barrier(judged, read):
        return replace(judged, barrier=9)
    return judged


def test_what_was_skipped_is_reset_once_all_that_may_have_skipped_has_ended() -> None:
    assert liveness(HERE, skipping=False) == HERE
    full = liveness(HERE, skipping=True)
    assert full == replace(HERE, live=False)
    assert isinstance(full, LeaderState)
    assert liveness(full, skipping=True) == full
    waiting = liveness(full, skipping=False)
    assert waiting == replace(full, barrier=9)
    assert isinstance(waiting, LeaderState)
    assert liveness(waiting, skipping=False, oldest=8) == waiting
    assert liveness(waiting, skipping=True) == full, "a barrier is void once more is skipped"
    assert liveness(waiting, skipping=False, oldest=9) == Reset("log_full")


def test_what_was_noted_in_the_database_outlives_the_state_in_redis() -> None:
    fresh = liveness(HERE, skipping=False, noted=True)
    assert fresh == replace(HERE, live=False, barrier=9)
    assert isinstance(fresh, LeaderState)
    assert liveness(fresh, skipping=False, noted=True, oldest=9) == Reset("log_full")


@pytest.mark.parametrize(
    ("capture", "lacks_members", "weighed"),
    [
        (CaptureState("f"), False, (False, False)),
        (CaptureState("f", is_new=True), False, (False, False)),
        (CaptureState("f", ("notes",)), False, (True, False)),
        (CaptureState("g", ("notes",)), False, (True, True)),
        (CaptureState("g", is_new=True), False, (True, True)),
        (CaptureState("g"), False, (False, True)),
        (CaptureState("f"), True, (True, False)),
    ],
    ids=["whole", "first look", "differs", "changed, differs", "changed", "settled", "members"],
)
def test_triggers_that_were_changed_are_like_a_log_that_was_skipped(
    capture: CaptureState, *, lacks_members: bool, weighed: tuple[bool, bool]
) -> None:
    place = replace(HERE, capture="f")
    read = weigh_capture(batch(), place, capture, lacks_members=lacks_members)
    assert (read.is_skipping, read.has_skipped) == weighed
    installed = batch(cursor=SnapshotCursor("another", "10:20:"))
    assert weigh_capture(installed, place, capture, lacks_members=True) == installed


def test_a_successor_is_not_live_where_the_state_is_not() -> None:
    state = {**STATE, "live": "0"}
    adopted = decide_adoption(state, redis_identity="run.repl", raw_notify_lost=False)
    assert adopted == LeaderState("g", CURSOR, "run.repl", "truncate", live=False)
    reset = decide_adoption(state, redis_identity="another", raw_notify_lost=False)
    assert reset == Reset("gap", live=False)


@pytest.mark.parametrize(
    ("looks", "dies_at"),
    [
        ([(at, 7, "same") for at in range(10)], 5),
        ([(at, 7, f"sign {at}") for at in range(10)], None),
        ([(at, 7, "old" if at < 3 else "new") for at in range(10)], 8),
        ([(at, 7 if at < 3 else 8, "same") for at in range(10)], 8),
        ([(at, 7, "same") for at in (0, 1, 2, 6, 7, 8, 9, 10, 11)], 11),
        (
            [
                (0, 7, "same"),
                (1, 7, "same"),
                (2, None, ""),
                *((at, 7, "same") for at in range(3, 9)),
            ],
            8,
        ),
    ],
    ids=["silent", "alive", "alive, then silent", "new holder", "long unseen", "not readable"],
)
def test_a_standby_ends_a_leader_that_shows_no_sign_for_five_seconds_that_it_saw(
    looks: list[tuple[int, int | None, str]], dies_at: int | None
) -> None:
    watch = LeaderWatch()
    dead = []
    for at, holder, sign in looks:
        if holder is None:
            watch.start_anew()
        elif watch.is_dead(holder=holder, sign=sign, now=100.0 + at):
            dead.append(at)
    assert (dead[0] if dead else None) == dies_at


def test_a_standby_gives_a_leader_that_waits_for_another_databases_as_long_again() -> None:
    watch = LeaderWatch()
    alive = [watch.is_dead(holder=1, sign=f"b.{at}", now=at, waits=True) for at in range(30)]
    assert not any(alive), "the other database's leader is alive: ours must wait"
    dead = [watch.is_dead(holder=1, sign="b.29", now=at, waits=True) for at in range(30, 46)]
    assert dead.index(True) == 14, "5 s after the 10 s that it must wait"


@pytest.mark.parametrize(
    ("looks", "expected"),
    [
        ([(0.0, {})], [False]),
        ([(0.0, {"database": "mine", "alive": "a.1"})], [False]),
        (
            [(at, {"database": "its", "alive": "b.1"}) for at in (0.0, 9.9, 10.0)],
            [True, True, False],
        ),
        (
            [(at, {"database": "its", "alive": f"b.{at}"}) for at in (0.0, 9.0, 18.0)],
            [True, True, True],
        ),
        ([(0.0, {"database": "its"}), (1.0, {"database": "mine"})], [True, False]),
    ],
    ids=["nothing is stored", "ours", "dead", "alive", "restored to ours"],
)
def test_a_leader_waits_while_that_of_another_database_is_alive(
    looks: list[tuple[float, dict[str, str]]], expected: list[bool]
) -> None:
    owner = OwnerWatch()
    waits = [owner.must_wait(state, database="mine", now=now) for now, state in looks]
    assert waits == expected


def test_a_cursor_names_its_database_whatever_starts_and_logs_follow() -> None:
    assert SnapshotCursor("7.16384.99.1.5.uuid", "1:1:").database == "7.16384"

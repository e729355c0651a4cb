"""A leader covers an error that recurs by a reset, and continues."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry
from redis.exceptions import (
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
)

from listener.leader.change_log import BadValue, ChangeLog
from listener.leader.completeness import CaptureState
from listener.leader.leader import MAX_PUBLISH_TRIES, Leader
from listener.leader.leader_state import Batch, LeaderState, LogSize, SnapshotCursor
from listener.leader.log_row import LogRow
from listener.leader.metrics import LeaderMetrics
from listener.leader.notifications import Notifications
from listener.leader.project_members import ProjectMembers
from listener.leader.publication import Publication, PublicationRules
from listener.leader.publisher import Publisher, PublishRefused, refusal
from listener.leader.read_schedule import WakeUpHolder
from shared.config.access_rules import AccessRules
from shared.links.redis_link import RedisLost
from shared.links.redis_server import RedisServer
from shared.protocol.channels import Channel

RULES = PublicationRules(
    AccessRules("text", "text", "", ""), frozenset(), 1000, resources=frozenset({"task"})
)
ROW = LogRow("p", None, "task", "1", "UPDATE", datetime(2026, 11, 24, tzinfo=UTC))
SERVER = RedisServer("r", "1", is_primary=True)
WELL_FORMED = '{"resource":"task","id":"1","action":"UPDATE","project_id":"p"}'


class Log:
    """A change log that always has a row."""

    def __init__(self) -> None:
        self.reads = 0
        self.written: list[LogRow] = []
        self.rows: list[LogRow] = [ROW]
        self.read_at: datetime | None = None
        self.is_seen = False
        self.capture_state = CaptureState()
        self.on_read: Callable[[SnapshotCursor], None] = lambda _: None
        self.on_write: Callable[[], None] = lambda: None

    async def read(self, cursor: SnapshotCursor | None, *, ascii_only: bool = False) -> Batch:
        _ = ascii_only
        self.reads += 1
        if cursor is not None:
            self.on_read(cursor)
        return Batch(
            SnapshotCursor("i", f"{self.reads}:"),
            cursor_ahead=False,
            rows=self.rows,
            oldest_age=0.0,
            read_at=self.read_at,
        )

    async def write(self, rows: list[LogRow]) -> None:
        self.on_write()
        self.written += rows

    async def raw_notify_seen(self) -> bool:
        return self.is_seen

    async def prune(self, _saved: SnapshotCursor) -> int:
        return 0

    async def capture(self) -> CaptureState:
        return self.capture_state

    async def size(self) -> LogSize:
        return LogSize(rows=3, bytes=2000, max_bytes=10_000, queue_usage=0.25)

    async def wake_up_holders(self) -> frozenset[WakeUpHolder]:
        return frozenset()


class Members:
    async def of(self, _projects: object) -> dict[str, set[str]]:
        return {}


class Redis:
    """A publisher that records resets and fails on demand."""

    RESTORES_STATE = False

    def __init__(self) -> None:
        self.tries = 0
        self.database_at: int | None = None
        self.resets: list[str] = []
        self.on_save: Callable[[LeaderState], None] = lambda _: None
        self.was_reset = asyncio.Event()
        self.on_publish: Callable[[], dict[Channel, str]] = dict

    async def adopt(self) -> tuple[dict[str, str], RedisServer]:
        cursor = SnapshotCursor("i", "0:").to_json()
        return {"generation": "g", "cursor": cursor, "redis": SERVER.identity}, SERVER

    async def server(self) -> RedisServer:
        return SERVER

    async def has_moved_on(self, _own: RedisServer) -> bool:
        return False

    async def publish(
        self, _publication: Publication, _state: LeaderState
    ) -> dict[Channel, str]:
        self.tries += 1
        return self.on_publish()

    async def save(
        self, state: LeaderState, *, tick_lag_ms: int | None, database_at: int | None = None
    ) -> str:
        if tick_lag_ms is not None:
            self.database_at = database_at
        self.on_save(state)
        return state.generation

    async def reset(self, state: LeaderState) -> None:
        self.resets.append(state.reason)
        self.was_reset.set()


class Led:
    """A leader between the two fakes."""

    def __init__(self, *, takes_raw: bool = True) -> None:
        self.log, self.redis = Log(), Redis()
        self.registry = CollectorRegistry()
        self.notifications = Notifications(RULES, self.registry, takes_raw=takes_raw)
        self._leader = Leader(
            cast(ChangeLog, self.log),
            cast(ProjectMembers, Members()),
            cast(Publisher, self.redis),
            self.notifications,
            RULES,
            LeaderMetrics(self.registry),
            database="i",
        )

    async def until(self, waiting: Coroutine[Any, Any, Any]) -> None:
        """Lead until *waiting* is done."""
        async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
            leading = tasks.create_task(self._leader.lead())
            await waiting
            leading.cancel()

    def count(self, name: str) -> float:
        return self.registry.get_sample_value(name) or 0.0


async def test_an_unreadable_row_is_a_reset_and_the_next_read_starts_after_it() -> None:
    led = Led()

    def fail(cursor: SnapshotCursor) -> None:
        if cursor.snapshot == "0:":
            raise BadValue("UnicodeDecodeError")

    led.log.on_read = fail
    await led.until(led.redis.was_reset.wait())
    assert led.redis.resets == ["bulk_change"]


async def test_rows_beside_an_unreadable_one_are_published_without_a_reset() -> None:
    led = Led()
    was_read = asyncio.Event()

    def fail_once(_cursor: SnapshotCursor) -> None:
        if led.log.reads == 1:
            raise BadValue("invalid byte sequence")

    led.log.on_read = fail_once
    led.redis.on_save = lambda _: was_read.set()
    await led.until(was_read.wait())
    assert led.redis.resets == []
    assert led.redis.tries == 1
    assert led.count("neverstale_log_unreadable_total") == 1


async def test_a_batch_that_loses_the_link_each_time_is_a_reset_after_five_tries(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("listener.leader.leader.REDIS_RETRY_SECONDS", 0.01)
    led = Led()

    def lose() -> dict[Channel, str]:
        raise RedisLost("ConnectionError: too big")

    led.redis.on_publish = lose
    await led.until(led.redis.was_reset.wait())
    assert led.redis.tries >= MAX_PUBLISH_TRIES
    assert led.redis.resets == ["bulk_change"]


async def test_a_link_that_is_lost_occasionally_costs_no_reset(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("listener.leader.leader.REDIS_RETRY_SECONDS", 0.01)
    led = Led()
    enough = asyncio.Event()

    def lose_often() -> dict[Channel, str]:
        if led.redis.tries > 4 * MAX_PUBLISH_TRIES:
            enough.set()
        if led.redis.tries % MAX_PUBLISH_TRIES:
            raise RedisLost("ConnectionError")
        return {}

    led.redis.on_publish = lose_often
    await led.until(enough.wait())
    assert led.redis.resets == []


async def test_a_refusal_that_no_channel_reset_covers_resets_everything() -> None:
    led = Led()

    def refuse() -> dict[Channel, str]:
        raise PublishRefused("ERR")

    led.redis.on_publish = refuse
    await led.until(led.redis.was_reset.wait())
    assert led.redis.resets == ["bulk_change"]


async def test_refused_channels_are_counted() -> None:
    led = Led()
    enough = asyncio.Event()

    def refuse_one() -> dict[Channel, str]:
        enough.set()
        return {Channel("project", "p"): "WRONGTYPE"} if led.redis.tries == 1 else {}

    led.redis.on_publish = refuse_one
    await led.until(enough.wait())
    assert led.count("neverstale_publish_refused_total") == 1
    assert led.redis.resets == []


async def test_empty_wake_ups_do_not_make_the_leader_read_all_the_time() -> None:
    led = Led()
    led.log.rows = []
    enough = asyncio.Event()

    def wake(_cursor: SnapshotCursor) -> None:
        led.notifications.receive("")
        if led.log.reads > 60:
            enough.set()

    led.log.on_read = wake
    began = asyncio.get_running_loop().time()
    await led.until(enough.wait())
    assert asyncio.get_running_loop().time() - began > 30 * 0.01


async def test_clients_are_not_live_while_the_reset_for_a_lost_notification_waits() -> None:
    led = Led()
    saved: list[tuple[int, bool]] = []  # resets so far, and whether it was live
    has_waited = asyncio.Event()

    def note(state: LeaderState) -> None:
        saved.append((len(led.redis.resets), state.live))
        if len(saved) == 1 or saved[-1] == (1, True):
            led.notifications.losses += 1  # the second one during the pause after the first
        elif saved[-1] == (1, False):
            has_waited.set()

    led.redis.on_save = note
    await led.until(has_waited.wait())
    assert saved[0] == (0, True)


@pytest.mark.parametrize(
    ("takes_raw", "is_seen", "resets", "written"),
    [(True, True, ["notify_reconnect"], 0), (True, False, [], 1), (False, True, [], 0)],
    ids=["seen before", "the first", "switched off"],
)
async def test_a_new_leader_resets_where_raw_notifications_may_have_been_missed(
    *, takes_raw: bool, is_seen: bool, resets: list[str], written: int
) -> None:
    led = Led(takes_raw=takes_raw)
    led.log.is_seen = is_seen
    led.notifications.receive(WELL_FORMED)
    enough = asyncio.Event()
    led.log.on_read = lambda _: enough.set() if led.log.reads > 3 else None
    await led.until(enough.wait())
    assert led.redis.resets == resets
    assert len(led.log.written) == written
    assert led.count("neverstale_notify_ignored_total") == (not takes_raw)


async def test_a_notification_that_the_database_cannot_store_is_a_reset() -> None:
    led = Led()

    def fail() -> None:
        raise BadValue("UntranslatableCharacterError")

    led.log.on_write = fail
    led.notifications.receive(WELL_FORMED)
    await led.until(led.redis.was_reset.wait())
    assert led.redis.resets == ["notify_reconnect"]


async def test_malformed_notifications_are_counted_and_neither_wake_nor_cost_a_reset(
    caplog: pytest.LogCaptureFixture,
) -> None:
    notifications = Notifications(RULES, registry := CollectorRegistry())
    for number in range(20_000):
        notifications.receive(f"no json {number}")
    notifications.log_due()
    assert registry.get_sample_value("neverstale_notify_malformed_total") == 20_000
    assert not notifications.raw_lost
    assert not notifications.woken.is_set()
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ([b"epoch", 1], None),
        (
            ResponseError("WRONGTYPE Operation against a key"),
            "WRONGTYPE Operation against a key",
        ),
        (
            ResponseError("user_script:7: attempt to compare"),
            "user_script:7: attempt to compare",
        ),
        (ResponseError("x" * 1000), "x" * 200),
    ],
    ids=["an answer", "of the wrong type", "a script that fails", "long"],
)
def test_a_refusal_of_one_channel_has_a_reason(answer: object, reason: str | None) -> None:
    assert refusal(answer) == reason


@pytest.mark.parametrize(
    "error",
    [
        OutOfMemoryError("command not allowed when used memory > 'maxmemory'."),
        ReadOnlyError("You can't write against a read only replica."),
        NoScriptError("No matching script."),
        NoPermissionError("User default has no permissions"),
        ResponseError("MISCONF Redis is configured to save RDB snapshots"),
        ResponseError("BUSY Redis is busy running a script."),
        ResponseError("ACL failure in script: User u has no permissions to run 'zadd'"),
    ],
    ids=lambda error: str(error)[:10],
)
def test_a_refusal_of_every_command_is_a_lost_link(error: Exception) -> None:
    with pytest.raises(type(error)):
        refusal(error)


async def test_what_is_published_is_counted_by_resource_and_timed() -> None:
    led = Led()
    began = asyncio.Event()
    led.log.rows = [ROW, replace(ROW, id="2"), replace(ROW, resource="unwatched")]
    led.log.read_at = read_at = datetime(2026, 11, 24, 0, 0, 20, tzinfo=UTC)
    led.redis.on_save = lambda _: began.set()
    await led.until(began.wait())

    def events(resource: str) -> float:
        name = "neverstale_events_published_total"
        return led.registry.get_sample_value(name, {"resource": resource}) or 0.0

    assert events("other") == 1, "the label set is closed"
    assert events("task") == 2
    assert led.count("neverstale_log_rows_read_total") == 3
    assert led.count("neverstale_publish_seconds_count") == 3
    assert 60 <= led.count("neverstale_publish_seconds_sum") < 90
    assert led.redis.database_at is not None
    assert led.redis.database_at >= read_at.timestamp() * 1e6


async def test_the_log_is_measured_while_redis_is_away() -> None:
    led = Led()
    was_measured = asyncio.Event()

    def lose() -> dict[Channel, str]:
        if led.redis.tries > 1:
            was_measured.set()
        raise RedisLost("ConnectionError")

    led.redis.on_publish = lose
    await led.until(was_measured.wait())
    assert led.count("neverstale_log_rows") == 3
    assert led.count("neverstale_log_bytes") == 2000
    assert led.count("neverstale_log_max_bytes") == 10_000
    assert led.count("neverstale_notification_queue_ratio") == 0.25

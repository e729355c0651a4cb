"""The leader's loop: read the change log, publish, save the state, and tick."""

import asyncio
import logging
import secrets
import time
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from typing import Final

from listener.leader.capture_watch import CaptureWatch
from listener.leader.change_log import BadValue, ChangeLog
from listener.leader.completeness import apply_capture, decide_liveness, needs_barrier
from listener.leader.leader_state import (
    Batch,
    LeaderState,
    SnapshotCursor,
    change_ages,
    decide_adoption,
    decide_batch,
)
from listener.leader.log_row import LogRow
from listener.leader.metrics import LeaderMetrics
from listener.leader.notifications import Notifications
from listener.leader.project_members import MembersQueryInvalid, ProjectMembers
from listener.leader.pruner import Pruner
from listener.leader.publication import Publication, PublicationRules, Reset, plan_publication
from listener.leader.publisher import Publisher, PublishRefused
from listener.leader.read_schedule import ReadSchedule, WakeUpWatch
from listener.leader.recipients import changed_projects
from listener.leader.reset_throttle import ResetThrottle
from listener.leader.takeover import OwnerWatch
from listener.leader.tracing import LeaderTracing
from shared.links.redis_link import LOOK_SECONDS, RedisLost
from shared.links.redis_server import RedisServer
from shared.runtime.backoff import Backoff

MAX_PUBLISH_TRIES: Final = 5  # of a batch, before it is a reset
TICK_SECONDS: Final = 1.0
RESET_SECONDS: Final = 1.0
REDIS_RETRY_SECONDS: Final = 1.0
OWNER_POLL_SECONDS: Final = 0.5
SIZE_SECONDS: Final = 5.0
OTHER_RESOURCES: Final = "other"  # the label of resources that are in no watch

log = logging.getLogger(__name__)


class Leader:
    """Leads until its LISTEN session ends.

    ``is_linked``: Redis accepts its writes. ``is_refused``: another database's listener leads
    in this Redis, under the same prefix. ``is_live`` and ``lag_ms`` are those of the last tick.
    """

    def __init__(
        self,
        change_log: ChangeLog,
        members: ProjectMembers,
        publisher: Publisher,
        notifications: Notifications,
        rules: PublicationRules,
        metrics: LeaderMetrics,
        *,
        database: str,
        tracing: LeaderTracing | None = None,
    ) -> None:
        self._database = database
        self._tracing = tracing
        self._server: RedisServer
        self.is_linked = False
        self.is_refused = False
        self.is_live = False
        self.lag_ms: int | None = None
        self._log = change_log
        self._members = members
        self._publisher = publisher
        self._notifications = notifications
        self._rules = rules
        self._metrics = metrics
        self._capture = CaptureWatch(change_log, members, metrics)
        self._pruner = Pruner(change_log, metrics)
        self._schedule = ReadSchedule()
        self._wake_up = WakeUpWatch()
        self._raw_resets = ResetThrottle()
        self._publish_tries = 0  # of the next batch
        self._reached: LeaderState | None = None
        self._batch = 1  # its number, in logs
        # on the loop's clock
        self._ticked_at = 0.0
        self._reset_at = 0.0
        self._server_checked_at = 0.0
        self._size_read_at = 0.0
        self._read_began = 0.0  # by time.perf_counter
        for resource in (*rules.resources, OTHER_RESOURCES):
            metrics.events.labels(resource)

    @property
    def redis_nodes(self) -> list[str] | None:
        """The primaries of a Redis Cluster that answer; None: it is one server."""
        return self._publisher.linked_nodes

    async def lead(self) -> None:
        """Never returns. Raises ``PgLost``.

        A lost Redis link is waited out: the log in PostgreSQL is the buffer.
        """
        if self._notifications.takes_raw and await self._log.raw_notify_seen():
            # Raw NOTIFYs sent between two leaders are lost. The reset covers those in the
            # buffer too.
            self._notifications.lose_raw()
        backoff = Backoff(cap=REDIS_RETRY_SECONDS)
        while True:
            try:
                await self._lead_on_link(backoff)
            except RedisLost as exc:
                self.is_linked = False
                delay = backoff.next_delay()
                self._metrics.redis_lost.inc()
                log.warning(
                    "redis lost", extra={"reason": str(exc), "delay_seconds": round(delay, 3)}
                )
                await self._read_size_if_due()  # the log grows meanwhile
                await asyncio.sleep(delay)

    async def _lead_on_link(self, backoff: Backoff) -> None:
        stored = await self._adopt()
        await self._capture.check()
        state = decide_adoption(
            stored,
            redis_identity=self._server.identity,
            raw_notify_lost=self._notifications.raw_lost,
            own=self._reached if self._publisher.RESTORES_STATE else None,
        )
        if isinstance(state, LeaderState):
            log.info("resumed", extra={"generation": state.generation})
        while True:
            if isinstance(state, Reset):
                state = await self._reset(state)
            self._reached = state
            state = await self._step_or_reset(state)
            backoff.reset()

    async def _adopt(self) -> dict[str, str]:
        """The stored state, once no other database's leader owns it."""
        owner = OwnerWatch()
        loop = asyncio.get_running_loop()
        while True:
            stored, self._server = await self._publisher.adopt()
            refused = owner.must_wait(stored, database=self._database, now=loop.time())
            if refused and not self.is_refused:
                log.error(
                    "another database's listener uses this REDIS_PREFIX: set another one here",
                    extra={"its_database": stored.get("database"), "ours": self._database},
                )
            self.is_refused = refused
            if not refused:
                return stored
            await asyncio.sleep(OWNER_POLL_SECONDS)

    async def _step_or_reset(self, state: LeaderState) -> LeaderState | Reset:
        try:
            return await self._step(state)
        except MembersQueryInvalid as exc:
            # The rows are read again, and published, but not to members. Until the query works
            # again and a reset has followed, clients get ``live:false``.
            log.error("members query failed", extra=self._why(exc))  # noqa: TRY400 the reason says all
            self._capture.lacks_members = True
            return state
        except (BadValue, PublishRefused) as exc:
            # Another try would fail in the same way, and hold up everything after it.
            log.error("changes cannot be published one by one", extra=self._why(exc))  # noqa: TRY400 the reason says all
            return Reset("bulk_change", state.live)

    async def _step(self, state: LeaderState) -> LeaderState | Reset:
        """Read once, publish what was found, and wait until it is time for the next read."""
        self._read_began = time.perf_counter()
        read = await self._read(state.cursor)
        batch = apply_capture(
            read, state, self._capture.state, lacks_members=self._capture.lacks_members
        )
        if self._tracing is not None:
            self._tracing.note_read(batch, self._batch, began=self._read_began)
        if batch.is_skipping or batch.has_skipped != read.has_skipped:
            await self._capture.note_skipped(read)
        judged = decide_liveness(state, batch)
        if isinstance(judged, Reset):
            return judged
        if needs_barrier(judged, batch):
            judged = replace(judged, barrier=await self._log.take_barrier())
        planned = decide_batch(state.cursor, batch) or await self._plan(batch.rows)
        if isinstance(planned, Reset):
            return replace(planned, live=judged.live)
        if batch.rows:
            await self._publish(planned, state)
            self._measure(planned, batch)
        has_turned = judged.live != state.live
        state = replace(judged, cursor=batch.cursor)
        now = asyncio.get_running_loop().time()
        if has_turned or now - self._ticked_at >= TICK_SECONDS:
            if not await self._tick(state, batch, now):
                return Reset("gap", state.live)
        elif batch.rows:
            await self._save(state, tick_lag_ms=None)
        self._notifications.log_due()
        await asyncio.sleep(self._schedule.pause(len(batch.rows)))
        return await self._wait(state, found=bool(batch.rows))

    async def _tick(self, state: LeaderState, batch: Batch, now: float) -> bool:
        """Save the state with a tick, and do what is done once a second.

        False: this is not the Redis that stores the generation, and nothing was done.
        """
        await self._check_server(now)
        if (await self._publisher.server()).identity != state.redis:
            return False
        lag_ms = round(batch.oldest_age * 1000)
        await self._save(state, tick_lag_ms=lag_ms, database_at=self._database_at(batch))
        self._ticked_at, self.lag_ms, self.is_live = now, lag_ms, state.live
        await self._watch_wake_up()
        await self._capture.check_if_due(now)
        if batch.has_moved:
            await self._log.log_moved_projects()
        await self._pruner.prune_if_due(state, now)
        await self._read_size_if_due()
        return True

    async def _read_size_if_due(self) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._size_read_at >= SIZE_SECONDS:
            self._size_read_at = now
            self._metrics.log_size.size = await self._log.size()

    def _measure(self, publication: Publication, batch: Batch) -> None:
        """Note what was published just now, and how long it took."""
        metrics, counts = self._metrics, publication.counts
        metrics.observe_lag(batch.oldest_age)
        metrics.rows_read.inc(len(batch.rows))
        seconds = time.perf_counter() - self._read_began
        for age, count in change_ages(batch):
            metrics.publish.observe(age + seconds, count)
        for resource, count in counts.events.items():
            known = resource if resource in self._rules.resources else OTHER_RESOURCES
            metrics.events.labels(known).inc(count)
        for reason, count in counts.resets.items():
            metrics.channel_resets.labels(reason).inc(count)
        metrics.conflated.inc(counts.conflated)
        log.debug(
            "published",
            extra={
                "batch": self._batch,
                "rows": len(batch.rows),
                "events": counts.events.total(),
                "seconds": round(seconds, 3),
            },
        )
        self._batch += 1

    def _database_at(self, batch: Batch) -> int | None:
        """The database's time now, in microseconds."""
        if batch.read_at is None:
            return None
        seconds = batch.read_at.timestamp() + time.perf_counter() - self._read_began
        return round(seconds * 1e6)

    async def _check_server(self, now: float) -> None:
        """Raise ``RedisLost`` if the address leads elsewhere, though the old server answers."""
        if now - self._server_checked_at >= LOOK_SECONDS:
            self._server_checked_at = now
            if await self._publisher.has_moved_on(self._server):
                raise RedisLost("the address leads to another server now")

    async def _read(self, cursor: SnapshotCursor) -> Batch:
        try:
            return await self._log.read(cursor)
        except BadValue as exc:
            self._metrics.unreadable.inc()
            log.warning(
                "a row of the change log can't be read, its project or everything is reset",
                extra=self._why(exc),
            )
            return await self._log.read(cursor, ascii_only=True)

    def _why(self, exc: Exception) -> dict[str, object]:
        return {"batch": self._batch, "reason": str(exc)}

    async def _watch_wake_up(self) -> None:
        """Read more often while a session keeps writers from waking the leader, and log it."""
        for holder in self._wake_up.check(await self._log.wake_up_holders()):
            log.warning(
                "a session keeps the wake-up lock: end it",
                extra={
                    "role": holder.role,
                    "statement": f"select pg_terminate_backend({holder.pid})",
                },
            )
        self._schedule.is_unwoken = bool(self._wake_up.keeping)

    async def _plan(self, rows: Sequence[LogRow]) -> Publication | Reset:
        changed = changed_projects(rows, self._rules.access, self._rules.project_resources)
        members = {} if self._capture.lacks_members else await self._members.of(changed)
        if members is None:
            return Reset("bulk_change")
        return plan_publication(rows, members, self._rules)

    async def _publish(self, publication: Publication, state: LeaderState) -> None:
        """Raises ``PublishRefused`` where the reset of single channels is not enough."""
        if self._publish_tries >= MAX_PUBLISH_TRIES:
            raise PublishRefused("the Redis link is lost each time this batch is sent")
        self._publish_tries += 1
        with self._tracing.publishing() if self._tracing is not None else nullcontext():
            refused = await self._publisher.publish(publication, self._storable(state))
        self._publish_tries = 0
        if refused:
            self._metrics.refused.inc(len(refused))
            channel, reason = next(iter(refused.items()))
            log.warning(
                "redis refused events, their channels were reset",
                extra={
                    "batch": self._batch,
                    "count": len(refused),
                    "kind": channel.kind,
                    "reason": reason,
                },
            )

    def _storable(self, state: LeaderState) -> LeaderState:
        if self._notifications.raw_lost:
            # The reset for this may have to wait. Until then clients get ``live:false``, and a
            # successor that finds this stored resets, whatever becomes of this process.
            return replace(state, live=False)
        return state

    async def _save(
        self, state: LeaderState, *, tick_lag_ms: int | None, database_at: int | None = None
    ) -> None:
        stored = await self._publisher.save(
            self._storable(state), tick_lag_ms=tick_lag_ms, database_at=database_at
        )
        if stored is None:
            raise RedisLost("the stored state is gone: it was evicted or deleted")
        if stored != state.generation:
            raise RedisLost("another generation is stored: another leader wrote it")
        self.is_linked = True

    async def _wait(self, state: LeaderState, *, found: bool) -> LeaderState | Reset:
        """Wait for a wake-up or the end of the poll interval, and log raw NOTIFYs."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._schedule.next_wait(found=found)):
                await self._notifications.woken.wait()
        if self._notifications.woken.is_set():
            self._notifications.woken.clear()
            self._schedule.wake()
        await self._notifications.log_raw(self._log)
        now = asyncio.get_running_loop().time()
        if self._notifications.raw_lost and self._raw_resets.is_due(now):
            self._raw_resets.record(now)
            return Reset("notify_reconnect", state.live)
        return state

    async def _reset(self, cause: Reset) -> LeaderState:
        """Start a new generation, which resets every client; at most once a second."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(max(0.0, self._reset_at + RESET_SECONDS - loop.time()))
        losses = self._notifications.losses
        self._server = await self._publisher.server()
        if cause.reason == "log_lost":
            # Probably ``install`` ran, which waits for all writers while it replaces triggers.
            # Any other change of the triggers is left to the next check, and its barrier.
            await self._capture.check()
        batch = await self._log.read(None)
        state = LeaderState(
            secrets.token_hex(8),
            batch.cursor,
            self._server.identity,
            cause.reason,
            cause.live,
            capture=self._capture.state.fingerprint,
        )
        await self._publisher.reset(state)
        self.is_linked = True
        if cause.reason == "log_full":
            await self._log.note_skipped(skipped=False)
        self._notifications.losses_reset = losses
        self._publish_tries = 0
        self._reset_at = self._ticked_at = loop.time()
        self._pruner.make_due()  # the rows of a restored dump must go at once
        self._metrics.resets.labels(cause.reason).inc()
        log.warning("reset", extra={"reason": cause.reason, "cause": cause.cause})
        return state

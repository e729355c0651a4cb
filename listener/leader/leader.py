"""The leader's work: read the change log, publish, save the cursor, tick."""

import asyncio
import logging
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

from listener.leader.change_log import MAX_ROWS_PER_PRUNE, BadValue, ChangeLog
from listener.leader.completeness import (
    CaptureState,
    decide_liveness,
    needs_barrier,
    weigh_capture,
)
from listener.leader.leader_state import (
    Batch,
    LeaderState,
    SnapshotCursor,
    decide_adoption,
    decide_batch,
)
from listener.leader.log_row import LogRow
from listener.leader.metrics import LeaderMetrics
from listener.leader.notifications import Notifications
from listener.leader.project_members import MembersQueryInvalid, ProjectMembers
from listener.leader.publication import Publication, PublicationRules, Reset, plan_publication
from listener.leader.publisher import Publisher, PublishRefused
from listener.leader.read_schedule import ReadSchedule, WakeUpWatch
from listener.leader.recipients import changed_projects
from listener.leader.reset_throttle import ResetThrottle
from listener.leader.takeover import OwnerWatch
from shared.links.redis_link import LOOK_SECONDS, RedisLost
from shared.links.redis_server import RedisServer
from shared.runtime.backoff import Backoff

MAX_PUBLISH_TRIES: Final = 5  # of a batch, before it is a reset
TICK_SECONDS: Final = 1.0
CAPTURE_SECONDS: Final = 2.0
RESET_SECONDS: Final = 1.0
REDIS_RETRY_SECONDS: Final = 1.0
OWNER_SECONDS: Final = 0.5
PRUNE_SECONDS: Final = 60.0
PRUNE_BUDGET_SECONDS: Final = 1.0  # of a tick
SHRINK_SECONDS: Final = 5.0

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Timers:
    """When, on the loop's clock, something was last done."""

    tick: float = 0.0
    reset: float = 0.0
    prune: float = 0.0
    look: float = 0.0
    capture: float = 0.0


class Leader:
    """Leads for as long as its LISTEN session lives.

    ``is_linked``: Redis takes what it writes. ``is_refused``: another database's listener leads
    in this Redis, under the same prefix.
    """

    def __init__(
        self,
        change_log: ChangeLog,
        membership: ProjectMembers,
        publisher: Publisher,
        mailbox: Notifications,
        rules: PublicationRules,
        metrics: LeaderMetrics,
        *,
        database: str,
    ) -> None:
        self._database = database
        self._server: RedisServer
        self.is_linked = False
        self.is_refused = False
        self._log = change_log
        self._membership = membership
        self._publisher = publisher
        self._mailbox = mailbox
        self._rules = rules
        self._metrics = metrics
        self._timers = _Timers()
        self._schedule = ReadSchedule()
        self._wake_up = WakeUpWatch()
        self._raw_resets = ResetThrottle()
        self._publish_tries = 0  # of the batch that is next
        self._capture = CaptureState()
        self._lacks_members = False

    async def lead(self) -> None:
        """Never returns. Raises ``PgLost``.

        A lost Redis link is waited out: the log in PostgreSQL is the buffer.
        """
        if self._mailbox.takes_raw and await self._log.raw_notify_seen():
            # whatever was sent between two leaders; the reset covers what waits here, too
            self._mailbox.losses += 1
            self._mailbox.raw.clear()
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
                await asyncio.sleep(delay)

    async def _lead_on_link(self, backoff: Backoff) -> None:
        state = await self._adopt()
        await self._look_at_capture()
        place = decide_adoption(
            state,
            redis_identity=self._server.identity,
            raw_notify_lost=self._mailbox.raw_lost,
        )
        if isinstance(place, LeaderState):
            log.info("adopted", extra={"generation": place.generation})
        while True:
            if isinstance(place, Reset):
                place = await self._reset(place)
            place = await self._step_or_reset(place)
            backoff.reset()

    async def _adopt(self) -> dict[str, str]:
        """The stored state, once no other database's leader is alive there."""
        owner = OwnerWatch()
        loop = asyncio.get_running_loop()
        while True:
            state, self._server = await self._publisher.adopt()
            refused = owner.must_wait(state, database=self._database, now=loop.time())
            if refused and not self.is_refused:
                log.error(
                    "another database's listener uses this REDIS_PREFIX: set another one here",
                    extra={"its_database": state.get("database"), "ours": self._database},
                )
            self.is_refused = refused
            if not refused:
                return state
            await asyncio.sleep(OWNER_SECONDS)

    async def _step_or_reset(self, place: LeaderState) -> LeaderState | Reset:
        try:
            return await self._step(place)
        except MembersQueryInvalid as exc:
            # The rows are read again, and told, but not to members; a reset follows once these
            # can be asked for, and until then clients are not told that they are live.
            log.error("members can't be asked for", extra={"reason": str(exc)})  # noqa: TRY400 the reason says all
            self._lacks_members = True
            return place
        except (BadValue, PublishRefused) as exc:
            # trying again would give the same, and hold everything after it
            log.error("changes can't be told one by one", extra={"reason": str(exc)})  # noqa: TRY400 the reason says all
            return Reset("bulk_change", place.live)

    async def _step(self, place: LeaderState) -> LeaderState | Reset:
        """One read, with all that follows from it, up to the time of the next one."""
        read = await self._read(place.cursor)
        batch = weigh_capture(read, place, self._capture, lacks_members=self._lacks_members)
        if batch.is_skipping or batch.has_skipped != read.has_skipped:
            await self._note_skipped(read)
        judged = decide_liveness(place, batch)
        if isinstance(judged, Reset):
            return judged
        if needs_barrier(judged, batch):
            judged = replace(judged, barrier=await self._log.take_barrier())
        planned = decide_batch(place.cursor, batch) or await self._plan(batch.rows)
        if isinstance(planned, Reset):
            return replace(planned, live=judged.live)
        if batch.rows:
            await self._publish(planned, place)
            self._metrics.events.inc(planned.event_count)
            self._metrics.lag.observe(batch.oldest_age)
        turned = judged.live != place.live
        place = replace(judged, cursor=batch.cursor)
        now = asyncio.get_running_loop().time()
        if turned or now - self._timers.tick >= TICK_SECONDS:
            await self._look(now)
            if (await self._publisher.server()).identity != place.redis:
                return Reset("gap", place.live)
            await self._save(place, tick_lag_ms=round(batch.oldest_age * 1000))
            self._timers.tick = now
            await self._watch_wake_up()
            await self._watch_schema(now)
            if batch.has_moved:
                await self._log.log_moved_projects()
            await self._prune(place, now)
        elif batch.rows:
            await self._save(place, tick_lag_ms=None)
        self._mailbox.log_due()
        await asyncio.sleep(self._schedule.rest(len(batch.rows)))
        return await self._wait(place, found=bool(batch.rows))

    async def _look(self, now: float) -> None:
        """Raise ``RedisLost`` if the address leads elsewhere, though the old server answers."""
        if now - self._timers.look >= LOOK_SECONDS:
            self._timers.look = now
            if await self._publisher.has_moved_on(self._server):
                raise RedisLost("the address leads to another server now")

    async def _read(self, cursor: SnapshotCursor) -> Batch:
        try:
            return await self._log.read(cursor)
        except BadValue as exc:
            self._metrics.unreadable.inc()
            log.warning(
                "a row of the change log can't be read, its project or everything is reset",
                extra={"reason": str(exc)},
            )
            return await self._log.read(cursor, ascii_only=True)

    async def _watch_wake_up(self) -> None:
        """Read more often while somebody keeps writers from waking us, and say who does."""
        for holder in self._wake_up.look(await self._log.wake_up_holders()):
            log.warning(
                "a session keeps the wake-up lock: end it",
                extra={
                    "role": holder.role,
                    "statement": f"select pg_terminate_backend({holder.pid})",
                },
            )
        self._schedule.is_unwoken = bool(self._wake_up.keeping)

    async def _publish(self, publication: Publication, place: LeaderState) -> None:
        """Raises ``PublishRefused`` where the reset of single channels is not enough."""
        if self._publish_tries >= MAX_PUBLISH_TRIES:
            raise PublishRefused(
                "redis answers, but its link is lost whenever this batch is sent"
            )
        self._publish_tries += 1
        refused = await self._publisher.publish(publication, place.generation)
        self._publish_tries = 0
        if refused:
            self._metrics.refused.inc(len(refused))
            channel, reason = next(iter(refused.items()))
            log.warning(
                "redis refused events, their channels were reset",
                extra={"count": len(refused), "first": channel.token[:100], "reason": reason},
            )

    async def _note_skipped(self, batch: Batch) -> None:
        if batch.is_skipping and not batch.has_skipped:
            log.warning("changes are not captured: the log is full, or disabled")
        await self._log.note_skipped(skipped=True)

    async def _watch_schema(self, now: float) -> None:
        """See what migrations have ended, and whether it is whole again."""
        if self._capture.is_new or now - self._timers.capture >= CAPTURE_SECONDS:
            await self._look_at_capture()
        if self._lacks_members:
            self._lacks_members = not await self._membership.can_be_queried()

    async def _look_at_capture(self) -> None:
        """See whether the triggers are as they were installed, and tell of any change once."""
        self._timers.capture = asyncio.get_running_loop().time()
        found = await self._log.capture()
        before = self._capture
        is_new = found.fingerprint != before.fingerprint
        self._capture = replace(found, is_new=is_new)
        self._metrics.capture_differences.set(len(found.differences))
        if found.differences and found.differences != before.differences:
            log.error(
                "changes are not captured: run python -m listener install",
                extra={"count": len(found.differences), "differences": found.differences},
            )
        elif is_new and before.fingerprint:
            log.info("triggers, functions or partitions of watched tables were changed")

    async def _plan(self, rows: Sequence[LogRow]) -> Publication | Reset:
        changed = changed_projects(rows, self._rules.access, self._rules.project_resources)
        members = {} if self._lacks_members else await self._membership.of(changed)
        if members is None:
            return Reset("bulk_change")
        return plan_publication(rows, members, self._rules)

    async def _prune(self, place: LeaderState, now: float) -> None:
        """Remove what the cursor that was just saved has seen.

        At once where the log is full.
        """
        if now - self._timers.prune < (PRUNE_SECONDS if place.live else SHRINK_SECONDS):
            return
        loop = asyncio.get_running_loop()
        while (removed := await self._log.prune(place.cursor)) == MAX_ROWS_PER_PRUNE:
            self._metrics.pruned.inc(removed)
            if loop.time() - now > PRUNE_BUDGET_SECONDS:
                return  # it goes on with the next tick
        self._metrics.pruned.inc(removed)
        self._timers.prune = now
        if not place.live:
            await self._log.shrink()

    async def _save(self, place: LeaderState, *, tick_lag_ms: int | None) -> None:
        if self._mailbox.raw_lost:
            # Its reset may have to wait. Until then clients are not told that they are live,
            # and a successor that finds this stored resets, whatever becomes of this process.
            place = replace(place, live=False)
        stored = await self._publisher.save(place, tick_lag_ms=tick_lag_ms)
        if stored is None:
            raise RedisLost("the stored state is gone: it was evicted or deleted")
        if stored != place.generation:
            raise RedisLost("another generation is stored: another leader wrote it")
        self.is_linked = True

    async def _wait(self, place: LeaderState, *, found: bool) -> LeaderState | Reset:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._schedule.next_wait(found=found)):
                await self._mailbox.woken.wait()
        if self._mailbox.woken.is_set():
            self._mailbox.woken.clear()
            self._schedule.woken()
        await self._take_raw()
        now = asyncio.get_running_loop().time()
        if self._mailbox.raw_lost and self._raw_resets.is_due(now):
            self._raw_resets.note(now)
            return Reset("notify_reconnect", place.live)
        return place

    async def _take_raw(self) -> None:
        """Write what other producers told into the log, from where it is read like all else."""
        rows = self._mailbox.raw.take()
        if not rows:
            return
        try:
            await self._log.write(rows)
        except BadValue as exc:  # a text that the database's encoding lacks
            self._mailbox.losses += 1
            log.warning("notifications can't be logged", extra={"reason": str(exc)})
        except BaseException:  # cancelled or not: whether they were written is not known
            self._mailbox.losses += 1
            raise

    async def _reset(self, cause: Reset) -> LeaderState:
        """Tell everybody that everything may be stale, at most once a second.

        The cause waits for its turn.
        """
        loop = asyncio.get_running_loop()
        await asyncio.sleep(max(0.0, self._timers.reset + RESET_SECONDS - loop.time()))
        losses = self._mailbox.losses
        self._server = await self._publisher.server()
        if cause.reason == "log_lost":
            # Likely by `install`, which waited for all writers beside its triggers. Any other
            # change of the triggers is left for the next look, which takes a barrier first.
            await self._look_at_capture()
        batch = await self._log.read(None)
        place = LeaderState(
            secrets.token_hex(8),
            batch.cursor,
            self._server.identity,
            cause.reason,
            cause.live,
            capture=self._capture.fingerprint,
        )
        await self._publisher.reset(place)
        self.is_linked = True
        if cause.reason == "log_full":
            await self._log.note_skipped(skipped=False)
        self._mailbox.losses_reset = losses
        self._publish_tries = 0
        self._timers.reset = self._timers.tick = loop.time()
        self._timers.prune = 0.0  # remove the rows of a restored dump at once
        self._metrics.resets.labels(cause.reason).inc()
        log.warning("reset", extra={"reason": cause.reason, "cause": cause.cause})
        return place

"""Runs one scenario from set-up to verdict."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import asyncpg

from tests.chaos.browser import Browser
from tests.chaos.consumer import Consumer
from tests.chaos.faults import Breaker
from tests.chaos.kinds import GATEWAYS
from tests.chaos.known_ids import KnownIds, insert_first_rows
from tests.chaos.oracle import Share, find_leaks, find_missed, find_stale
from tests.chaos.pages import load_access
from tests.chaos.plan import Round, Scenario
from tests.chaos.record import Record
from tests.chaos.stack import ProxiedStack, running_stack
from tests.chaos.supervised_process import Launcher, skewed_clock
from tests.chaos.timeline import Timeline
from tests.chaos.writers import Writer
from tests.support.background import background
from tests.support.database import GONE

QUIET_SECONDS: Final = 45.0
POLL_SECONDS: Final = 0.25
HANG_SECONDS: Final = 180.0  # of a round; only to catch hangs
_KINDS: Final = {"v1": Browser, "plain": Browser, "stream": Browser, "python": Consumer}


@dataclass
class Verdict:
    """Outcome of a scenario. Without violations, the promise held."""

    seed: int
    violations: list[str] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    writes: Counter[str] = field(default_factory=Counter)
    events: int = 0
    resets: int = 0
    share: Share = field(default_factory=Share)
    stale: int = 0
    leaks: int = 0
    slowest_seconds: float = 0.0
    seconds: float = 0.0
    timeline: Path | None = None


def play_here(scenario: Scenario, folder: Path, *, keep: bool) -> Verdict:
    """Play a scenario in this process, blocking."""
    return asyncio.run(play(scenario, folder, keep=keep))


async def play(
    scenario: Scenario,
    folder: Path,
    *,
    keep: bool = False,
    launchers: Mapping[str, Launcher] | None = None,
) -> Verdict:
    """Play a scenario. Its timeline is written to *folder* after a violation, or if *keep*.

    *launchers*: of the parts that are not started as the scenario says.
    """
    verdict, timeline = Verdict(scenario.seed), Timeline()
    if launchers is None:
        skewed = {GATEWAYS[-1]: skewed_clock(scenario.skew_seconds)}
        launchers = skewed if scenario.skew_seconds else {}
    settings = {
        "REPLAY_MAX_ROWS": str(scenario.replay_max_rows),
        "SLOW_CLIENT_SECONDS": str(scenario.slow_client_seconds),
    }
    async with (
        background() as links,
        running_stack(
            timeline, links, settings, launchers, is_cluster=scenario.is_cluster
        ) as stack,
        background() as browsers,
    ):
        game = await _set_up(scenario, stack, browsers, verdict)
        try:
            await game.play(scenario.rounds)
        finally:
            verdict.seconds = timeline.now()
            if verdict.violations or keep:
                verdict.timeline = folder / f"seed-{scenario.seed}.log"
                timeline.write(verdict.timeline, stack.logs())
    return verdict


async def _set_up(
    scenario: Scenario, stack: ProxiedStack, tasks: asyncio.TaskGroup, verdict: Verdict
) -> "_Game":
    database = await asyncpg.connect(stack.database_url)
    known = await insert_first_rows(database, scenario)
    record = Record(stack.timeline.now)
    record.saw_access(await load_access(database), sent_at=0.0)
    await database.close()
    browsers = [
        _KINDS[plan.kind](
            plan, known.users[plan.user], known.projects[plan.home], stack, scenario.seed
        )
        for plan in scenario.browsers
    ]
    await stack.ready()
    for browser in browsers:
        tasks.create_task(browser.run())
    game = _Game(stack, known, record, browsers, scenario.seed, verdict)
    await game.settle("the beginning")
    return game


class _Game:
    def __init__(
        self,
        stack: ProxiedStack,
        known: KnownIds,
        record: Record,
        browsers: Sequence[Browser],
        seed: int,
        verdict: Verdict,
    ) -> None:
        self._stack = stack
        self._known = known
        self._record = record
        self._browsers = browsers
        self._breaker = Breaker(stack, browsers, seed)
        self._verdict = verdict
        self._now = stack.timeline.now

    async def play(self, rounds: Sequence[Round]) -> None:
        """Play rounds until one shows a violation."""
        for number, round_ in enumerate(rounds, 1):
            if self._verdict.violations:
                break
            began = self._now()
            self._stack.timeline.note("ROUND", str(number))
            async with asyncio.timeout(HANG_SECONDS), asyncio.TaskGroup() as tasks:
                tasks.create_task(self._breaker.run(round_.faults, began))
                for index, writes in enumerate(round_.writers):
                    writer = Writer(f"writer {index}", self._stack, self._record, self._known)
                    tasks.create_task(writer.run(writes, began))
            await self.settle(f"round {number}")
            self._judge(began)
        self._count()

    async def settle(self, what: str) -> None:
        """Wait until nothing is stale. What still is after the quiet time is a violation."""
        began, problems = self._now(), ["nothing was checked yet"]
        self._stack.timeline.note("QUIET", f"after {what}")
        while problems and self._now() - began < QUIET_SECONDS:
            await asyncio.sleep(POLL_SECONDS)
            problems = await self._look()
        seconds = self._now() - began
        self._stack.timeline.note("CONSISTENT" if not problems else "STALE", str(problems))
        self._verdict.stale += len(problems)
        self._verdict.violations += [f"stale after {what}: {each}" for each in problems]
        self._verdict.slowest_seconds = max(self._verdict.slowest_seconds, seconds)

    async def _look(self) -> list[str]:
        """Return what is stale now."""
        try:
            database = await asyncpg.connect(self._stack.database_url)
            try:
                return await find_stale(database, self._browsers)
            finally:
                database.terminate()
        except (*GONE, asyncpg.PostgresError) as exc:
            return [f"the database can't be asked: {exc}"]

    def _judge(self, since: float) -> None:
        verdict = self._verdict
        verdict.violations += find_missed(self._browsers, self._record, since, verdict.share)
        leaks = find_leaks(self._browsers, self._record)
        verdict.leaks = len(leaks)
        verdict.violations += leaks
        verdict.violations += self._stack.broken + self._stack.tracebacks()
        for violation in verdict.violations:
            self._stack.timeline.note("VIOLATION", violation)

    def _count(self) -> None:
        verdict = self._verdict
        verdict.faults = self._breaker.counts
        verdict.writes = Counter(change.kind for change in self._record.changes)
        for browser in self._browsers:
            kinds = Counter(received.frame["type"] for received in browser.received)
            verdict.events += kinds["cache_invalidate"]
            verdict.resets += kinds["reconnect"]

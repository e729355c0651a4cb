"""Runs one attack beside the victim, and measures the victim and the stack."""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from typing import Final

import aiohttp

from deploy.dev.servers import die_with_parent
from gateway.http.connection_records import LINES_PER_SECOND
from tests.attack.registry import Attack
from tests.attack.scene import Scene, build_scene
from tests.attack.victim import App, Change, Logins, Memory, Victim, is_running, running
from tests.support.processes import HANG_SECONDS, ROOT
from tests.support.servers import Servers
from tests.support.world import make_world

FLOOR_MS: Final = 5.0
WARM_UP_SECONDS: Final = 1.0
MAX_LINE_CHARACTERS: Final = 20_000
MAX_SERIES: Final = 20  # series that an attack may add to /metrics
LOST_MS: Final = 1000 * HANG_SECONDS


@dataclass
class Outcome:
    """Measurements of one attack.

    Times are from commit to the victim's frame, in ms. Memory is in MiB, of the gateway and of
    the listener that grew most. ``attacker`` has the attacker's own counts.
    """

    name: str
    who: str
    p50_before: float = 0.0
    p99_before: float = 0.0
    p50: float = 0.0
    p99: float = 0.0
    changes: int = 0
    lost: int = 0
    resets: int = 0
    logins: int = 0
    failed_logins: list[str] = field(default_factory=list)
    login_p99: float = 0.0
    commit_p99: float = 0.0
    gateway_growth: float = 0.0
    gateway_peak: float = 0.0
    listener_growth: float = 0.0
    listener_peak: float = 0.0
    log_lines: int = 0
    seconds: float = 0.0  # how long the attack lasted
    attacker: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        return max(self.p99, FLOOR_MS) / max(self.p99_before, FLOOR_MS)

    def broken(self, attack: Attack, *, timed: bool) -> list[str]:
        """Return the bounds that do not hold, those of wall-clock time only if *timed*."""
        bounds = attack.bounds
        found = list(self.faults)
        if self.lost:
            found.append(f"{self.lost} of {self.changes} changes were not delivered")
        if not self.changes:
            found.append("the app could not write")
        if self.failed_logins or not self.logins:
            kinds = ", ".join(sorted(set(self.failed_logins)))
            found.append(f"{len(self.failed_logins)} of {self.logins} logins failed ({kinds})")
        if bounds.resets is not None and self.resets > bounds.resets:
            found.append(f"the victim was reset {self.resets} times (at most {bounds.resets})")
        for name, growth in (
            ("gateway", self.gateway_growth),
            ("listener", self.listener_growth),
        ):
            if growth > bounds.growth_mib:
                most = bounds.growth_mib
                found.append(f"the {name} grew by {growth:.0f} MiB (at most {most:g})")
        most_lines = bounds.log_lines + round(LINES_PER_SECOND * self.seconds)
        if self.log_lines > most_lines:
            found.append(f"{self.log_lines} log lines were written (at most {most_lines})")
        if timed and bounds.ratio is not None and self.ratio > bounds.ratio:
            found.append(f"p99 is {self.ratio:.1f} times as high (at most {bounds.ratio:g})")
        if timed and bounds.p99_ms is not None and self.p99 > bounds.p99_ms:
            found.append(f"p99 is {self.p99:.0f} ms (at most {bounds.p99_ms:g})")
        return found


async def play(
    attack: Attack, servers: Servers, *, seconds: float, baseline_seconds: float
) -> Outcome:
    """Run an attack on a new stack on these servers."""
    outcome = Outcome(attack.name, attack.who)
    try:
        async with make_world(servers) as world:
            scene = await build_scene(
                world, attack.settings, standby=attack.standby, max_files=attack.max_files
            )
            await play_on(
                scene, attack, outcome, seconds=seconds, baseline_seconds=baseline_seconds
            )
    except* (
        AssertionError,
        TimeoutError,
    ) as group:  # from the world's end: a log with a traceback
        outcome.faults += [
            f"{type(each).__name__}: {str(each)[:1000]}" for each in _leaves(group)
        ]
    return outcome


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for each in group.exceptions:
        found += _leaves(each) if isinstance(each, BaseExceptionGroup) else [each]
    return found


async def play_on(
    scene: Scene, attack: Attack, outcome: Outcome, *, seconds: float, baseline_seconds: float
) -> None:
    """Run an attack on a running stack."""
    if attack.before is not None:
        await attack.before(scene)
    async with aiohttp.ClientSession() as http:
        victim, app = Victim(http, scene), App(scene)
        with running(victim.run):
            async with asyncio.timeout(HANG_SECONDS):
                await victim.live.wait()
            with running(app.run):
                await asyncio.sleep(min(WARM_UP_SECONDS, baseline_seconds))
                started = time.perf_counter()
                await asyncio.sleep(baseline_seconds)
                attacked, ended = await _under_attack(attack, scene, outcome, seconds)
            await _until_told(victim, app.within(started, ended))
        before, during = app.within(started, attacked), app.within(attacked, ended)
        outcome.p50_before, outcome.p99_before = _percentiles(_latencies(victim, before))
        outcome.p50, outcome.p99 = _percentiles(_latencies(victim, during))
        outcome.changes = len(during)
        outcome.lost = sum(_told_at(victim, change) is None for change in during)
        outcome.resets = sum(attacked <= at for at in victim.reset_at)
        outcome.commit_p99 = _percentiles(
            [1000 * (each.committed_at - each.sent_at) for each in during]
        )[1]


async def _under_attack(
    attack: Attack, scene: Scene, outcome: Outcome, seconds: float
) -> tuple[float, float]:
    """Run the attack for a while. Return when it began and ended."""
    series = await _series(scene)
    logins, memory = Logins(scene), Memory(scene.parts)
    lines = sum(len(part.raw_lines) for part in scene.parts)
    with running(memory.watch):
        async with asyncio.TaskGroup() as tasks, _attacker(attack, scene, outcome) as acted:
            attacked = time.perf_counter()
            tasks.create_task(logins.run())
            if attack.during is not None:
                await asyncio.sleep(seconds / 4)
                try:
                    await attack.during(scene)
                except TimeoutError:
                    outcome.faults.append(f"not in {HANG_SECONDS:g} s: {attack.during.__doc__}")
            await asyncio.sleep(max(0.0, attacked + seconds - time.perf_counter()))
            if not await acted():
                outcome.faults.append("the attacker has done nothing")
            ended = time.perf_counter()
            logins.stop()
    outcome.seconds = ended - attacked
    outcome.logins = len(logins.seconds) + len(logins.failures)
    outcome.failed_logins = logins.failures
    outcome.login_p99 = 1000 * _percentiles(logins.seconds)[1]
    growth = [most - first for most, first in zip(memory.most, memory.first, strict=True)]
    outcome.gateway_growth, outcome.gateway_peak = growth[0], memory.most[0]
    outcome.listener_growth = max(growth[1:])
    outcome.listener_peak = max(memory.most[1:])
    outcome.log_lines = sum(len(part.raw_lines) for part in scene.parts) - lines
    killed = 1 if attack.standby else 0
    alive = sum(map(is_running, scene.parts))
    if alive < len(scene.parts) - killed:
        outcome.faults.append(f"{len(scene.parts) - killed - alive} processes have ended")
    if any(len(line) > MAX_LINE_CHARACTERS for part in scene.parts for line in part.raw_lines):
        outcome.faults.append(f"a log line is over {MAX_LINE_CHARACTERS} characters long")
    if (grown := await _series(scene) - series) > MAX_SERIES:
        outcome.faults.append(f"/metrics has grown by {grown} series")
    return attacked, ended


@asynccontextmanager
async def _attacker(
    attack: Attack, scene: Scene, outcome: Outcome
) -> AsyncIterator[Callable[[], Awaitable[bool]]]:
    """Run the attacker's process during the body.

    Yields a function that waits for its first action and returns whether there was one.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.attack.attacker",
        attack.name,
        json.dumps(asdict(scene.target())),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        preexec_fn=die_with_parent,
    )
    output = process.stdout
    assert output is not None

    async def acted() -> bool:
        try:
            async with asyncio.timeout(HANG_SECONDS):
                return await output.readline() == b"acted\n"
        except TimeoutError:
            return False

    try:
        async with asyncio.timeout(HANG_SECONDS):
            await output.readline()
        yield acted
    finally:
        if process.returncode is None:
            process.terminate()
        try:
            async with asyncio.timeout(HANG_SECONDS):
                told, errors = await process.communicate()
            outcome.attacker = json.loads(told.splitlines()[-1])
        except (TimeoutError, ValueError, IndexError):
            outcome.faults.append("the attacker did not end well")
            if process.returncode is None:
                process.kill()
        else:
            if process.returncode or errors:
                reason = errors.decode(errors="replace")[-1000:]
                outcome.faults.append(f"the attacker failed: {reason}")


async def _series(scene: Scene) -> int:
    """Return the number of series in the gateway's /metrics."""
    async with scene.world.http.get(f"{scene.gateway.url}/metrics") as response:
        return len((await response.text()).splitlines())


async def _until_told(victim: Victim, changes: Sequence[Change]) -> None:
    """Wait until all changes were received or covered by a reset. The rest counts as lost."""
    deadline = time.perf_counter() + HANG_SECONDS
    for change in changes:
        while _told_at(victim, change) is None and time.perf_counter() < deadline:
            await asyncio.sleep(0.02)


def _told_at(victim: Victim, change: Change) -> float | None:
    """Return when the victim received the change or a later reset, None if neither."""
    resets = (at for at in victim.reset_at if at >= change.committed_at)
    reset_at, received_at = next(resets, None), victim.received_at.get(change.id)
    if reset_at is None or received_at is None:
        return reset_at if received_at is None else received_at
    return min(reset_at, received_at)


def _latencies(victim: Victim, changes: Sequence[Change]) -> list[float]:
    """Return for each change the ms from its commit until it was received."""
    found = []
    for change in changes:
        received_at = _told_at(victim, change)
        since = LOST_MS if received_at is None else 1000 * (received_at - change.committed_at)
        found.append(max(0.0, since))
    return found


def _percentiles(values: Sequence[float]) -> tuple[float, float]:
    """Return the median and the 99th percentile."""
    ordered = sorted(values)
    if not ordered:
        return 0.0, 0.0
    return ordered[len(ordered) // 2], ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]

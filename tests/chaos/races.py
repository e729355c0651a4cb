"""``python -m tests.chaos.races``: users lose and regain projects while all else happens.

Many races at once on one stack, wave after wave, most of them with a fault. After each wave,
in the quiet, no socket may be subscribed to what the database forbids: neither by what it was
told itself, nor by what it hears of a last change of each project.
"""

import argparse
import asyncio
import itertools
import random
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import asyncpg

from tests.chaos.faults import Breaker
from tests.chaos.kinds import GATEWAYS, Fault
from tests.chaos.oracle import find_leaks, shorten
from tests.chaos.pages import load_access
from tests.chaos.race import Race, plan_race
from tests.chaos.seat import Seat
from tests.chaos.stack import LISTENERS, Stack, running_stack
from tests.chaos.timeline import Timeline
from tests.chaos.world import made_id
from tests.support.background import background
from tests.support.database import GONE

FOLDER: Final = Path("build") / "chaos"
QUIET_SECONDS: Final = 45.0
PROBE_SECONDS: Final = 10.0
POLL_SECONDS: Final = 0.25
AWAY_SECONDS: Final = 10.0

FAULTS: Final[dict[str, Sequence[Fault]]] = {
    "none": (),
    "a lost Redis link of both gateways": [
        Fault(at, kind, f"{gateway}->redis", 3.0)
        for gateway in GATEWAYS
        for at, kind in ((1.0, "cut"), (4.0, "black hole"), (9.0, "cut"))
    ],
    "a crash of PostgreSQL": [Fault(4.0, "postgresql crash", "", 1.0)],
    "both listeners away for 10 s": [
        Fault(3.0, "kill", listener, AWAY_SECONDS) for listener in LISTENERS
    ],
    "Redis without its data, then a killed gateway": [
        Fault(3.0, "redis older", "", 1.0),
        Fault(8.0, "kill", "gateway1", 1.0),
    ],
}


@dataclass
class Outcome:
    """Of one wave. ``steps``: by kind; ``ended``: subscriptions that a gateway took away."""

    fault: str
    races: int
    steps: Counter[str] = field(default_factory=Counter)
    ended: int = 0
    quiet_seconds: float = 0.0
    violations: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        steps = ", ".join(f"{kind} {count}" for kind, count in self.steps.most_common())
        return (
            f"{self.races} races, fault: {self.fault}: {steps};"
            f" {self.ended} subscriptions ended; quiet after {self.quiet_seconds:.1f} s;"
            f" {len(self.violations)} violations"
        )


class _Referee:
    """A client of each gateway that may always hear: what it hears, all have been told."""

    def __init__(self, stack: Stack, owner: str, project: str) -> None:
        self.stack = stack
        self._project = project
        self._seats = [
            Seat(f"referee {gateway}", owner, project, stack, gateway, is_plain=False)
            for gateway in GATEWAYS
        ]

    async def tell_all(
        self, races: Sequence[Race], probe: str, listening: asyncio.TaskGroup
    ) -> None:
        """Tell of a last change of each project, and wait until all have been told of it.

        Raises ``TimeoutError``, or what asyncpg raises.
        """
        for seat in self._seats:
            if not seat.is_open:
                listening.create_task(seat.connect(in_band=False))
        async with asyncio.timeout(PROBE_SECONDS):
            while not all(seat.is_subscribed for seat in self._seats):
                await asyncio.sleep(0.01)
        database = await asyncpg.connect(self.stack.database_url)
        for race in races:
            race.record.sent("probe", [(race.plan.project, "probe", probe)])
        try:
            await database.executemany(
                "select neverstale.notify('probe', 'UPDATE', $1, $2)",
                [(race.plan.project, probe) for race in races],
            )
            await database.execute(
                "select neverstale.notify('probe', 'UPDATE', $1, $2)", self._project, probe
            )
        finally:
            database.terminate()
        async with asyncio.timeout(PROBE_SECONDS):
            while not all(seat.has_heard(probe) for seat in self._seats):
                await asyncio.sleep(0.01)
            for seat in (seat for race in races for seat in race.seats):
                await seat.catch_up()


async def play_wave(
    stack: Stack, seeds: Sequence[int], fault: str, listening: asyncio.TaskGroup
) -> Outcome:
    """Play the races of these seeds at once, and judge them."""
    random_ = random.Random(f"{seeds[0]} wave")
    owner, project = made_id(random_), made_id(random_)
    races = [Race(plan_race(seed), stack, owner) for seed in seeds]
    await _fill(stack, owner, project, races)
    stack.timeline.note("WAVE", f"{seeds[0]} to {seeds[-1]}: {fault}")
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(Breaker(stack, (), seeds[0]).run(FAULTS[fault], stack.timeline.now()))
        for race in races:
            tasks.create_task(race.run(listening))
    await stack.ready()
    outcome = Outcome(fault, len(seeds))
    await _settle(_Referee(stack, owner, project), races, outcome, listening)
    for race in races:
        outcome.violations += find_leaks(race.seats, race.record)
        outcome.steps.update(step.kind for step in race.plan.steps)
        outcome.ended += sum(seat.ended for seat in race.seats)
        for seat in race.seats:
            await seat.drop()
    outcome.violations += stack.broken + stack.tracebacks()
    return outcome


async def _fill(stack: Stack, owner: str, project: str, races: Sequence[Race]) -> None:
    database = await asyncpg.connect(stack.database_url)
    await database.executemany(
        "insert into users (id, name) values ($1, 'user')",
        [(user,) for user in (owner, *(race.plan.user for race in races))],
    )
    await database.executemany(
        "insert into projects (id, owner_id, name) values ($1, $2, 'race')",
        [(id_, owner) for id_ in (project, *(race.plan.project for race in races))],
    )
    await database.close()


async def _settle(
    referee: _Referee, races: Sequence[Race], outcome: Outcome, listening: asyncio.TaskGroup
) -> None:
    """Look until nothing is wrong; what still is after the quiet time is a violation."""
    now = referee.stack.timeline.now
    began = now()
    for probe in itertools.count(1):
        problems = await _look(referee, races, str(probe), listening)
        outcome.quiet_seconds = now() - began
        if not problems or outcome.quiet_seconds > QUIET_SECONDS:
            outcome.violations += problems
            return
        await asyncio.sleep(POLL_SECONDS)


async def _look(
    referee: _Referee, races: Sequence[Race], probe: str, listening: asyncio.TaskGroup
) -> list[str]:
    """What is wrong now: who may not hear and does, or may and does not."""
    try:
        await referee.tell_all(races, probe, listening)
        database = await asyncpg.connect(referee.stack.database_url)
        access = await load_access(database)
        await database.close()
    except (*GONE, asyncpg.PostgresError) as exc:
        return [f"a last change did not get through: {type(exc).__name__}"]
    problems = []
    for race in races:
        for seat in race.seats:
            if race.pair not in access and (seat.is_subscribed or seat.has_heard(probe)):
                problems.append(f"{seat.name} hears of a project that is not its user's")
            if race.pair in access and seat.is_subscribed and not seat.has_heard(probe):
                problems.append(f"{seat.name} does not hear of its user's project")
    return problems


async def run(options: argparse.Namespace) -> int:
    """Play all races; 1 if there was a violation."""
    timeline, outcomes = Timeline(), list[Outcome]()
    seeds = range(options.seed, options.seed + options.races)
    faults = itertools.cycle([options.fault] if options.fault else FAULTS)
    async with (
        background() as links,
        running_stack(timeline, links) as stack,
        background() as listening,
    ):
        await stack.ready()
        for at in range(0, len(seeds), options.at_once):
            wave = seeds[at : at + options.at_once]
            outcomes.append(await play_wave(stack, wave, next(faults), listening))
            print(f"from seed {wave[0]}: {outcomes[-1]}", flush=True)
            if outcomes[-1].violations:
                path = FOLDER / f"races-{wave[0]}.log"
                timeline.write(path, stack.logs())
                print(f"\nVIOLATION (time line: {path}):")
                print("\n".join(shorten(outcomes[-1].violations)))
                break
    print(f"\n{sum(outcome.races for outcome in outcomes)} races,", end=" ")
    print(f"{sum(len(outcome.violations) for outcome in outcomes)} violations")
    return 1 if any(outcome.violations for outcome in outcomes) else 0


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos.races",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seed", type=int, default=1, help="the first race's (1)")
    parser.add_argument("--races", type=int, default=1000, help="in all (1000)")
    parser.add_argument("--at-once", type=int, default=50, help="races of a wave (50)")
    parser.add_argument("--fault", choices=[*FAULTS], help="in each wave (all in turn)")
    return asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())

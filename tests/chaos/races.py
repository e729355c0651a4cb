"""``python -m tests.chaos.races``: users lose and regain projects during everything else.

Many races run at once on one stack, wave after wave, most of them with a fault. After each
wave, when writes have stopped, no socket may be subscribed to a project that the database
forbids: neither according to the frames it received, nor by receiving a last change of it.
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
from tests.chaos.known_ids import made_id
from tests.chaos.oracle import find_leaks, shorten
from tests.chaos.pages import load_access
from tests.chaos.race import Race, plan_race
from tests.chaos.race_client import RaceClient
from tests.chaos.stack import LISTENERS, ProxiedStack, running_stack
from tests.chaos.timeline import Timeline
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
    """Outcome of one wave. ``ended``: subscriptions that a gateway revoked."""

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


class _ControlClients:
    """A client of each gateway that always has access.

    Once it has received an event, all other clients of its gateway have been sent theirs.
    """

    def __init__(self, stack: ProxiedStack, owner: str, project: str) -> None:
        self.stack = stack
        self._project = project
        self._clients = [
            RaceClient(f"referee {gateway}", owner, project, stack, gateway, is_plain=False)
            for gateway in GATEWAYS
        ]

    async def send_probes(
        self, races: Sequence[Race], probe: str, listening: asyncio.TaskGroup
    ) -> None:
        """Publish a last change of each project, and wait until it was sent to all clients.

        Raises ``TimeoutError``, or what asyncpg raises.
        """
        for client in self._clients:
            if not client.is_open:
                listening.create_task(client.connect(in_band=False))
        async with asyncio.timeout(PROBE_SECONDS):
            while not all(client.is_subscribed for client in self._clients):
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
            while not all(client.has_received(probe) for client in self._clients):
                await asyncio.sleep(0.01)
            for client in (client for race in races for client in race.clients):
                await client.catch_up()


async def play_wave(
    stack: ProxiedStack, seeds: Sequence[int], fault: str, listening: asyncio.TaskGroup
) -> Outcome:
    """Play the races of these seeds at once, and check the outcome."""
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
    await _settle(_ControlClients(stack, owner, project), races, outcome, listening)
    for race in races:
        outcome.violations += find_leaks(race.clients, race.record)
        outcome.steps.update(step.kind for step in race.plan.steps)
        outcome.ended += sum(client.ended for client in race.clients)
        for client in race.clients:
            await client.drop()
    outcome.violations += stack.broken + stack.tracebacks()
    return outcome


async def _fill(stack: ProxiedStack, owner: str, project: str, races: Sequence[Race]) -> None:
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
    control: _ControlClients,
    races: Sequence[Race],
    outcome: Outcome,
    listening: asyncio.TaskGroup,
) -> None:
    """Check until nothing is wrong. What is still wrong after the quiet time is a violation."""
    now = control.stack.timeline.now
    began = now()
    for probe in itertools.count(1):
        problems = await _look(control, races, str(probe), listening)
        outcome.quiet_seconds = now() - began
        if not problems or outcome.quiet_seconds > QUIET_SECONDS:
            outcome.violations += problems
            return
        await asyncio.sleep(POLL_SECONDS)


async def _look(
    control: _ControlClients, races: Sequence[Race], probe: str, listening: asyncio.TaskGroup
) -> list[str]:
    """Return what is wrong now: events without access, or access without events."""
    try:
        await control.send_probes(races, probe, listening)
        database = await asyncpg.connect(control.stack.database_url)
        access = await load_access(database)
        await database.close()
    except (*GONE, asyncpg.PostgresError) as exc:
        return [f"the last changes were not delivered: {type(exc).__name__}"]
    problems = []
    for race in races:
        for client in race.clients:
            if race.pair not in access and (client.is_subscribed or client.has_received(probe)):
                problems.append(
                    f"{client.name} receives events of a project that its user may not see"
                )
            if race.pair in access and client.is_subscribed and not client.has_received(probe):
                problems.append(
                    f"{client.name} misses events of a project that its user may see"
                )
    return problems


async def run(options: argparse.Namespace) -> int:
    """Play all races. Return 1 if there was a violation, else 0."""
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
                print(f"\nVIOLATION (timeline: {path}):")
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
    parser.add_argument("--seed", type=int, default=1, help="seed of the first race (1)")
    parser.add_argument("--races", type=int, default=1000, help="number of races (1000)")
    parser.add_argument("--at-once", type=int, default=50, help="races per wave (50)")
    parser.add_argument(
        "--fault", choices=[*FAULTS], help="the fault of every wave (default: all in turn)"
    )
    return asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())

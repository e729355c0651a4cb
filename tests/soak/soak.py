"""One soak from set-up to figures."""

import argparse
import asyncio
import random
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

from tests.chaos.faults import Breaker
from tests.chaos.kinds import GATEWAYS
from tests.chaos.stack import ProxiedStack
from tests.load.measurement import Clients, Options, Run, client_processes
from tests.load.report import figures_of
from tests.load.stack import execute
from tests.soak.flatness import find_unreturned, judge_growth
from tests.soak.plan import LASTING, plan_faults
from tests.soak.stack import SoakedStack
from tests.soak.traffic import (
    MEMBERS,
    SETUP,
    PatientWriter,
    calibrate,
    churn,
    give_back,
    revoke,
)
from tests.support.background import background

SHARE: Final = 0.5  # of the machine's cores
RETURN_SECONDS: Final = 120.0
REST_SECONDS: Final = 120.0
SAMPLES: Final = 300
REVOKE_EVERY_SECONDS: Final = 3.0


class Soak:
    """One soak: its stack, its clients, and what was measured."""

    def __init__(
        self, arguments: argparse.Namespace, options: Options, stack: ProxiedStack, folder: Path
    ) -> None:
        self._arguments = arguments
        self._options = options
        self._stack = stack
        self._soaked = SoakedStack(stack, folder)
        self._breaker = Breaker(stack, (), arguments.seed)
        self._before: dict[str, float] = {}
        self._after: dict[str, float] = {}

    async def play(self) -> dict[str, Any]:
        """Return all figures, with the problems that were found."""
        options, stack = self._options, self._stack
        await execute(
            stack.database_url,
            (SETUP + MEMBERS).format(sockets=options.sockets, projects=options.projects),
        )
        await stack.ready()
        await self._until_noted()
        base_ns = time.monotonic_ns()
        ports = [stack.links[f"clients->{name}"].port for name in GATEWAYS]
        writer = PatientWriter(
            stack.database_url, options, lambda: (time.monotonic_ns() - base_ns) // 1000
        )
        with client_processes(options, ports, base_ns) as clients:
            run = Run("soak", options, self._soaked, clients, writer, base_ns)
            run.tells_every_seconds = 10
            async with background() as sampling:
                sampling.create_task(run.sample())
                await run.connect()
                await self._load(run, clients)
                await run.until_live(RETURN_SECONDS)
                await run.settle()
            run.options = replace(options, rate=round(writer.rate, 1))
            figures = figures_of(run, await clients.finish(dict(writer.acknowledged_us)))
        self._after = await self._until_at_rest()
        return self._judge(figures)

    async def _until_noted(self) -> None:
        """Read what is held before the clients come, once each process has noted its tasks."""
        async with asyncio.timeout(REST_SECONDS):
            while True:
                self._before = await self._soaked.read()
                if sum(series.endswith("tasks") for series in self._before) == len(
                    self._stack.parts
                ):
                    return
                await asyncio.sleep(0.2)

    async def _load(self, run: Run[Any], clients: Clients) -> None:
        """Write for the whole time, while sockets and users come and go and faults happen."""
        arguments, options = self._arguments, self._options
        seconds = 60 * arguments.minutes
        random_ = random.Random(arguments.seed)
        async with background() as traffic:
            traffic.create_task(churn(clients, options.sockets * arguments.churn))
            if not arguments.rate:
                run.writer.rate = await calibrate(run, SHARE)
                print(f"half of the machine: {run.writer.rate:.0f} rows/s", flush=True)
            traffic.create_task(
                revoke(self._stack.database_url, options, random_, REVOKE_EVERY_SECONDS)
            )
            async with run.writing(), background() as sampling:
                sampling.create_task(self._soaked.sample_every(max(1.0, seconds / SAMPLES)))
                faults = plan_faults(
                    arguments.seed, seconds=seconds, every=arguments.fault_every
                )
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._breaker.run(faults, self._stack.timeline.now()))
                    tasks.create_task(run.measure("soak", round(seconds)))
        await give_back(self._stack.database_url, options)

    async def _until_at_rest(self) -> dict[str, float]:
        """Return what is held once the clients have left and all was given back, or in time."""
        deadline = time.monotonic() + REST_SECONDS
        while True:
            found = await self._soaked.read()
            if not find_unreturned(self._before, found) or time.monotonic() > deadline:
                return found
            await asyncio.sleep(1)

    def _judge(self, figures: dict[str, Any]) -> dict[str, Any]:
        growths = [
            growth
            for series, points in self._soaked.series.items()
            if _is_judged(series) and (growth := judge_growth(series, points)) is not None
        ]
        problems = [
            *figures["problems"],
            *(f"{each.series} is not flat" for each in growths if not each.is_flat),
            *(f"not given back: {each}" for each in find_unreturned(self._before, self._after)),
            *self._stack.broken,
            *self._stack.tracebacks(),
        ]
        if not growths:
            problems.append("too few samples to judge: make it longer")
        return figures | {
            "problems": problems,
            "is_right": not problems,
            "faults": dict(self._breaker.counts),
            "growths": [asdict(each) | {"is_flat": each.is_flat} for each in growths],
            "before": self._before,
            "after": self._after,
            "held": self._soaked.series,
        }


def _is_judged(series: str) -> bool:
    """Whether the series is of a server, or of a process that lives all the time."""
    owner = series.partition(" ")[0]
    return owner in LASTING or owner in ("change", "Redis")

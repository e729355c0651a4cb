"""``python -m tests.chaos``: play one scenario by its seed, or as many as fit into a time."""

import argparse
import itertools
import math
import sys
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Final

from tests.chaos.oracle import shorten
from tests.chaos.plan import plan_scenario
from tests.chaos.scenario import Verdict, play_here
from tests.chaos.summary import describe, summarize

FOLDER: Final = Path("build") / "chaos"


def run(options: argparse.Namespace) -> int:
    """Play scenarios until enough were played, time is up, or one shows a violation."""
    verdicts: list[Verdict] = []
    began = time.monotonic()
    scenarios = (
        plan_scenario(
            seed,
            seconds=options.seconds,
            faults=options.faults,
            only=options.only,
            is_cluster=options.cluster,
        )
        for seed in itertools.count(options.seed)
    )
    play_next = partial(play_here, folder=FOLDER, keep=options.keep)
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        playing = {pool.submit(play_next, next(scenarios)) for _ in range(options.jobs)}
        while playing:
            done, playing = wait(playing, return_when=FIRST_COMPLETED)
            for played in done:
                verdicts.append(verdict := played.result())
                print(describe(verdict), flush=True)
                spent = time.monotonic() - began + verdict.seconds
                is_enough = len(verdicts) + len(playing) >= options.scenarios
                if not (is_enough or spent > options.total or _broken(verdicts)):
                    playing.add(pool.submit(play_next, next(scenarios)))
    for verdict in _broken(verdicts):
        print(f"\nVIOLATION with --seed {verdict.seed} (timeline: {verdict.timeline}):")
        print("\n".join(shorten(verdict.violations)))
    print(f"\n{summarize(verdicts)}")
    return 1 if _broken(verdicts) else 0


def _broken(verdicts: Sequence[Verdict]) -> list[Verdict]:
    return [verdict for verdict in verdicts if verdict.violations]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="seed of the first scenario (1)")
    parser.add_argument(
        "--seconds", type=float, default=24, help="seconds of faults per scenario (24)"
    )
    parser.add_argument("--faults", type=int, default=12, help="faults per scenario (12)")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        help="only faults with this text, e.g. 'redis older'",
    )
    parser.add_argument("--total", type=float, help="seconds for all scenarios")
    parser.add_argument(
        "--scenarios",
        type=int,
        help="number of scenarios (one, or as many as fit into --total)",
    )
    parser.add_argument("--jobs", type=int, default=1, help="scenarios at once (1)")
    parser.add_argument("--cluster", action="store_true", help="Redis is a cluster")
    parser.add_argument("--keep", action="store_true", help="write every timeline")
    options = parser.parse_args()
    if options.scenarios is None:
        options.scenarios = 1 if options.total is None else sys.maxsize
    options.total = math.inf if options.total is None else options.total
    try:
        plan_scenario(0, seconds=1, faults=1, only=options.only, is_cluster=options.cluster)
    except ValueError as exc:
        parser.error(str(exc))
    return run(options)


if __name__ == "__main__":
    sys.exit(main())

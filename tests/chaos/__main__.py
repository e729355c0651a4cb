"""``python -m tests.chaos``: one scenario by its seed, or as many as fit into a time."""

import argparse
import asyncio
import sys
import time
from pathlib import Path
from typing import Final

from tests.chaos.oracle import shorten
from tests.chaos.plan import plan_scenario
from tests.chaos.scenario import Verdict, play
from tests.chaos.summary import describe, summarize

FOLDER: Final = Path("build") / "chaos"


async def run(options: argparse.Namespace) -> int:
    """Play scenarios until the time is over, or one shows a violation."""
    verdicts: list[Verdict] = []
    began, seed = time.monotonic(), options.seed
    while True:
        scenario = plan_scenario(
            seed, seconds=options.seconds, faults=options.faults, only=options.only
        )
        verdict = await play(scenario, FOLDER, keep=options.keep)
        verdicts.append(verdict)
        print(describe(verdict), flush=True)
        if verdict.violations:
            print(f"\nVIOLATION with --seed {seed} (time line: {verdict.timeline}):")
            print("\n".join(shorten(verdict.violations)))
            break
        if time.monotonic() - began + verdict.seconds > options.total:
            break
        seed += 1
    print(f"\n{summarize(verdicts)}")
    return 1 if verdicts[-1].violations else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="the first scenario's (1)")
    parser.add_argument("--seconds", type=float, default=24, help="of faults a scenario (24)")
    parser.add_argument("--faults", type=int, default=12, help="a scenario (12)")
    parser.add_argument(
        "--only", action="append", default=[], help="faults with this text, e.g. 'redis older'"
    )
    parser.add_argument("--total", type=float, default=0, help="seconds in all (one scenario)")
    parser.add_argument("--keep", action="store_true", help="write every time line")
    options = parser.parse_args()
    try:
        plan_scenario(0, seconds=1, faults=1, only=options.only)
    except ValueError as exc:
        parser.error(str(exc))
    return asyncio.run(run(options))


if __name__ == "__main__":
    sys.exit(main())
